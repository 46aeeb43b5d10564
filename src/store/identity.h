/* Whose data directory this is: the file "identity". It is written last when a directory is set up:
 * where it is, everything is. */
#ifndef MK_STORE_IDENTITY_H
#define MK_STORE_IDENTITY_H

#include <stdint.h>

#include "store/store.h"

enum { UUID_TEXT_BYTES = 2 * STORE_UUID_BYTES + 1, IDENTITY_NAME_BYTES = 64 };

/* What the file says. */
struct identity {
    unsigned version;
    uint64_t cluster_id;
    uint64_t node_id;
    char cluster_name[IDENTITY_NAME_BYTES];
    char node_name[IDENTITY_NAME_BYTES];
    uint8_t uuid[STORE_UUID_BYTES];
};

void uuid_format(const uint8_t uuid[STORE_UUID_BYTES], char out[UUID_TEXT_BYTES]);
/* Of exactly 32 lower-case digits at the beginning of text. */
bool uuid_parse(const char *text, uint8_t uuid[STORE_UUID_BYTES]);

/* Makes the file say that the directory is that of options, with this storage UUID. Durable. */
enum err identity_write(const struct store_options *options, const uint8_t uuid[STORE_UUID_BYTES],
                        struct why *why);

/* Errors: ERR_NOT_FOUND (no file; why is not filled in), ERR_CORRUPT, ERR_VERSION, ERR_IO. */
enum err identity_read(const struct fs_port *fs, struct identity *out, struct why *why);

/* Reads the file and holds it against options.
 * Errors: ERR_NOT_FOUND (no file; why is not filled in), ERR_WRONG_CLUSTER, ERR_WRONG_NODE,
 * ERR_CORRUPT, ERR_VERSION, ERR_IO. */
enum err identity_check(const struct store_options *options, uint8_t uuid[STORE_UUID_BYTES],
                        struct why *why);

#endif
