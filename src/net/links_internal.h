/* Inside the links: what links.c (the set of peers), link_out.c (a connection that we dialled) and
 * link_in.c (one that we accepted) know of each other. */
#ifndef MK_NET_LINKS_INTERNAL_H
#define MK_NET_LINKS_INTERNAL_H

#include <sys/queue.h>

#include <event2/event.h>

#include "base/quiet.h"
#include "base/rng.h"
#include "net/frames.h"
#include "net/links.h"
#include "net/listener.h"
#include "net/resolver.h"

/* ---- a connection that we dialled: frames go out on it ---- */

enum link_out_state {
    LINK_WAITING,    /* for the timer: back-off, or 0 to dial at once */
    LINK_RESOLVING,  /* the host's name */
    LINK_CONNECTING, /* TCP */
    LINK_GREETING,   /* hello sent, no answer yet */
    LINK_UP,
};

struct link_out {
    TAILQ_ENTRY(link_out) entry;
    TAILQ_ENTRY(link_out) dirty_entry;
    struct links *links;
    uint64_t peer;
    char *name;
    char *address;

    enum link_out_state state;
    bool gone;     /* no peer any more; freed at the end of the round */
    bool dirty;    /* on links->dirty: has frames to write in this round */
    bool reported; /* on_up() was called, and on_down() not since */
    bool blocked;  /* waits for the descriptor to take more */
    int fd;        /* -1: none */
    struct event *readable;
    struct event *writable;
    struct resolver *resolver;
    struct loop_timer *timer; /* back-off, handshake timeout, pings: never two of them at a time */
    struct frame_reader reader;
    struct frame_queue queue;
    struct frame_queue behind; /* gives way to queue */
    uint32_t backoff_us;
    uint64_t up_us;
    uint64_t ping_us; /* when the ping that is under way was sent; 0: none */
    struct quiet quiet;
    struct links_peer_stats stats;
};

struct link_out *link_out_new(struct links *l, const struct transport_peer *peer);
/* Close it, from wherever; the memory stays until link_out_free(). */
void link_out_drop(struct link_out *o);
void link_out_free(struct link_out *o);
/* Its address changed, or it is worth trying at once: the peer has just dialled us. */
void link_out_set_address(struct link_out *o, const char *address);
void link_out_hurry(struct link_out *o);
void link_out_send(struct link_out *o, struct slice frame);
/* False: it was dropped. */
bool link_out_send_behind(struct link_out *o, struct slice frame);
/* Write what is queued; at the end of a round. */
void link_out_flush(struct link_out *o);

/* ---- a connection that we accepted: frames come in on it ---- */

struct link_in {
    TAILQ_ENTRY(link_in) entry;
    struct links *links;
    int fd;
    bool greeted; /* the handshake is done: peer is valid */
    bool closed;  /* freed at the end of the round */
    struct handshake peer;
    struct event *readable;
    struct event *writable;   /* answers to pings that the descriptor did not take at once */
    struct loop_timer *timer; /* handshake timeout, then silence */
    struct frame_reader reader;
    struct frame_queue queue;
    uint64_t heard_us;
};

void link_in_new(struct links *l, int fd);
void link_in_close(struct link_in *i);
void link_in_free(struct link_in *i);

/* ---- all of them ---- */

/* What this node says of itself, as of now. */
const struct handshake *links_self(struct links *l);

struct links {
    struct loop *loop;
    struct clock_port clock;
    struct links_options options;
    struct links_callbacks callbacks;
    const struct log *log;
    struct rng rng;
    struct listener *listener;
    TAILQ_HEAD(, link_out) outs;
    TAILQ_HEAD(, link_out) dirty;
    TAILQ_HEAD(, link_out) gone;
    TAILQ_HEAD(, link_in) ins;
    TAILQ_HEAD(, link_in) closed;
    uint32_t ins_count;
    struct quiet quiet; /* lines about strangers */
    uint8_t scratch[FRAME_SCRATCH_BYTES];
};

struct link_out *links_find(const struct links *l, uint64_t peer);
uint64_t links_now_us(const struct links *l);
struct event *links_event(struct links *l, int fd, short what, event_callback_fn cb, void *ctx);
/* What both sides of a handshake hold against each other. */
enum err links_judge(const struct links *l, const struct handshake *peer, struct why *why);

#endif
