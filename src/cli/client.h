/* Asking a cluster from the command line: endpoints in turn, errors reported. */
#ifndef MK_CLI_CLIENT_H
#define MK_CLI_CLIENT_H

#include "base/bytes.h"
#include "base/err.h"
#include "cli/cli.h"

#define CLIENT_DEFAULT_ENDPOINT "127.0.0.1:7117"

/* One request to one node. Appends the encoded result to out. Errors: as rpc_client_call(); why
 * says what the node said. */
enum err client_ask(const char *address, const char *method, struct bytes params,
                    uint64_t timeout_us, struct buffer *out, struct why *why);

/* EXIT_OK if --endpoints makes sense; else it is reported. */
int client_check_endpoints(const struct cli *cli);
/* A request to the first endpoint that can be reached. A failure is reported on stderr. Returns the
 * exit code. */
int client_request(const struct cli *cli, const char *method, struct bytes params,
                   struct buffer *out);

/* The same in two steps, for who may try again: nothing is reported, why says what is wrong ... */
enum err client_try(const struct cli *cli, const char *method, struct bytes params,
                    struct buffer *out, struct why *why);
/* ... and that is reported. Returns the exit code. */
int client_failed(const struct cli *cli, const char *method, enum err e, const struct why *why);

/* {timeout_ms = ...} with room for more pairs, and a read level if it is not NULL. */
void client_write_options(const struct cli *cli, uint32_t more, struct buffer *params);

/* Print a result as -o has it: JSON; or bare text. */
int client_print(const struct cli *cli, struct bytes value);

#endif
