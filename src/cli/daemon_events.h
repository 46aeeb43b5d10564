/* The live events of a node for people who watch it: server-sent events (the HTML standard, section
 * "Server-sent events"), for the status page and for `curl -N`.
 *
 *     event: leader_elected        each event that hooks can hear, but for commits;
 *     id: 12                       the newest are sent first to who comes later, or to who comes
 *     data: {"event":...}          back with Last-Event-ID: those that were missed
 *
 *     event: cluster               every second, and at once: the status of all members as far as
 *     data: {"asked":"n1",...}     this node reaches them, and the hooks of this node */
#ifndef MK_CLI_DAEMON_EVENTS_H
#define MK_CLI_DAEMON_EVENTS_H

#include "base/bytes.h"
#include "net/http_server.h"
#include "net/loop.h"
#include "node/node.h"

struct daemon_events;

struct daemon_events *daemon_events_new(struct loop *loop, struct node *node);
/* Ends all streams. What the node still answers afterwards is ignored. Accepts NULL. */
void daemon_events_close(struct daemon_events *e);

/* As node_observer.event. */
void daemon_events_note(struct daemon_events *e, const char *name, raft_term term,
                        struct bytes fields);
/* Answer a call with the stream; it stays until its reader leaves. 503 if there are too many. */
void daemon_events_stream(struct daemon_events *e, struct http_call *call);

#endif
