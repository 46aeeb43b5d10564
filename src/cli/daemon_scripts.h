/* The scripts of a node as a process: their host on a thread of its own, and the way of their
 * requests to the loop's thread. */
#ifndef MK_CLI_DAEMON_SCRIPTS_H
#define MK_CLI_DAEMON_SCRIPTS_H

#include "base/err.h"
#include "base/log.h"
#include "net/loop.h"
#include "node/config.h"
#include "node/node.h"

struct daemon_scripts;
struct guardian_host;

struct daemon_scripts_options {
    const struct config *config;
    const struct clock_port *clock;
    struct loop *loop;
    const struct log *log;
    const struct address *http_instead;   /* for tests: daemon_test.http; NULL: none */
    const struct guardian_host *guardian; /* it is told of the processes that scripts start */
};

/* Compiles all apps of the configuration. Errors: those of script_host_load(), of
 * processes_open(); why names the file and the line, and *out is NULL. */
enum err daemon_scripts_open(const struct daemon_scripts_options *options,
                             struct daemon_scripts **out, struct why *why);
struct script_host *daemon_scripts_host(struct daemon_scripts *s);
/* Begin to run them, once the node has opened its data directory. Errors: IO, NO_SPACE. Accepts
 * NULL. */
enum err daemon_scripts_start(struct daemon_scripts *s, struct node *node, struct why *why);
/* The main chunk of each app waits or has ended, well or not; the loop is woken when that comes
 * about. Accepts NULL: there is none. */
bool daemon_scripts_loaded(const struct daemon_scripts *s);
/* Have the applications be those of config from now on: script_host_reload(). done is called on the
 * host's thread. */
void daemon_scripts_reload(struct daemon_scripts *s, const struct config *config,
                           void (*done)(void *ctx, enum err err, const char *message,
                                        struct bytes results),
                           void *ctx);
/* On the loop, after it was woken: pass on what they asked for. Accepts NULL. */
void daemon_scripts_drain(struct daemon_scripts *s);
/* No script runs after it. Accepts NULL. */
void daemon_scripts_stop(struct daemon_scripts *s);
/* After the node is freed. Accepts NULL. */
void daemon_scripts_close(struct daemon_scripts *s);

#endif
