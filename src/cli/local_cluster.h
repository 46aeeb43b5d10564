/* A cluster of child processes on this machine, each a guardian with its node, all in one terminal:
 * what `dev` and `demo` are made of. */
#ifndef MK_CLI_LOCAL_CLUSTER_H
#define MK_CLI_LOCAL_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "net/address.h"

enum { LOCAL_NODES_MAX = 9, LOCAL_PORTS_PER_NODE = 10 };

struct local_cluster;

struct local_options {
    unsigned nodes;
    uint16_t base_port;   /* of the first node's client listener; each node is 10 above */
    const char *data_dir; /* NULL: a new directory, removed at the end */
    const char *config;   /* a configuration for all else; NULL: none */
    char *const *scripts; /* each becomes an app, named for its file */
    unsigned scripts_count;
    const char *log_level; /* NULL: that of config, or "info" */
    /* A line of output of a node, without its newline. */
    void (*line)(void *ctx, unsigned node, const char *text);
    /* A node's guardian ended: its exit status, or -1 if it was killed. */
    void (*ended)(void *ctx, unsigned node, int exit_status);
    void *ctx;
};

/* Of a flag. False if it is not a number that will do. */
bool local_cluster_parse_nodes(const char *text, unsigned *out);
bool local_cluster_parse_port(const char *text, unsigned *out);

/* Writes the configurations; starts nothing. Errors: INVALID, IO. */
enum err local_cluster_open(const struct local_options *options, struct local_cluster **out,
                            struct why *why);
/* Kills what still runs, and waits for its end. Accepts NULL. */
void local_cluster_close(struct local_cluster *c);

enum err local_cluster_start(struct local_cluster *c, unsigned node, struct why *why);
/* SIGKILL the node, or the guardian first and then the node: as if the machine had died. */
void local_cluster_kill(struct local_cluster *c, unsigned node, bool guardian);
/* Begin to stop them all, the leader last: who hands leadership over to a node that is stopping too
 * would wait for an election that nobody wins. local_cluster_pump() goes on with it. */
void local_cluster_stop(struct local_cluster *c);
/* Pass on what the nodes say, for at most max_ms. Returns early when something happened, or when a
 * signal came. If nobody reads our stdout any more, that is one: SIGPIPE. */
void local_cluster_pump(struct local_cluster *c, int max_ms);

unsigned local_cluster_size(const struct local_cluster *c);
/* Guardians that run. */
unsigned local_cluster_running(const struct local_cluster *c);
bool local_cluster_is_running(const struct local_cluster *c, unsigned node);
/* Asks all nodes: the one that says, in the highest term, that it leads; the size of the cluster if
 * there is none. *followers: how many follow. */
unsigned local_cluster_leader(const struct local_cluster *c, unsigned *followers);
/* Have kv set key to a number, through a node; while there is no leader, that waits for one. False:
 * it was not confirmed in time. */
bool local_cluster_write(const struct local_cluster *c, unsigned node, const char *key,
                         uint64_t value, uint64_t timeout_us);
/* "n1" */
const char *local_cluster_id(const struct local_cluster *c, unsigned node);
/* The node of that id; the size of the cluster if there is none. */
unsigned local_cluster_find(const struct local_cluster *c, const char *id);
/* The client listener, "127.0.0.1:7117". */
const char *local_cluster_client(const struct local_cluster *c, unsigned node);
const char *local_cluster_http(const struct local_cluster *c, unsigned node);
const char *local_cluster_data_dir(const struct local_cluster *c);
/* An ANSI colour for the name of each node. */
const char *local_cluster_colour(unsigned node);

#endif
