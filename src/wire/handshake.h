/* What both ends of a connection between nodes say first, each as one frame.
 *
 *     hello   ["moonkeeper", version, role, <self>]
 *     answer  ["moonkeeper", version, verdict, sentence, <self>]
 *     <self>   cluster_id, cluster, node_id, node, storage, incarnation, last term, last index
 *
 * The one that dialled says hello, the other answers with who it is and whether it goes on: "ok",
 * or the name of an error and a sentence for the other side's log. */
#ifndef MK_WIRE_HANDSHAKE_H
#define MK_WIRE_HANDSHAKE_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "raft/raft.h"

enum {
    HANDSHAKE_VERSION = 1,
    HANDSHAKE_BYTES_MAX = 1024, /* a frame before the handshake is done is never larger */
    HANDSHAKE_NAME_MAX = 63,
    HANDSHAKE_SENTENCE_MAX = 255,
};

/* The numbers are the format. */
enum handshake_role {
    HANDSHAKE_NODE = 0,
    HANDSHAKE_GUARDIAN = 1, /* speaks for the node whose id it names */
};

struct handshake {
    enum handshake_role role;
    uint64_t cluster_id;
    char cluster[HANDSHAKE_NAME_MAX + 1];
    raft_id node_id;
    char node[HANDSHAKE_NAME_MAX + 1];
    uint8_t storage_uuid[16];
    struct raft_incarnation
        incarnation; /* SHA-256 of the process's 128 bits; zero for a guardian */
    /* Of its log. Who was removed, as we know it, may have been added again in entries that we do
     * not have. HANDSHAKE_ANY for a guardian, which speaks of the dead. */
    struct raft_pos last;
};
#define HANDSHAKE_ANY ((struct raft_pos){.index = UINT64_MAX, .term = UINT64_MAX})

struct handshake_answer {
    enum err verdict; /* ERR_OK: accepted */
    char sentence[HANDSHAKE_SENTENCE_MAX + 1];
    struct handshake self; /* who answers */
};

void handshake_encode(const struct handshake *h, struct buffer *out);
/* Errors: VERSION, it speaks another version; TRUNCATED, INVALID, TOO_LARGE. */
enum err handshake_decode(struct bytes frame, struct handshake *out);

void handshake_answer_encode(const struct handshake_answer *a, struct buffer *out);
/* An unknown verdict reads as ERR_INVALID, with its sentence. Errors: as above. */
enum err handshake_answer_decode(struct bytes frame, struct handshake_answer *out);

#endif
