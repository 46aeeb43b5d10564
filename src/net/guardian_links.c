#include "net/guardian_links.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/quiet.h"
#include "base/rng.h"
#include "net/address.h"
#include "net/frames.h"
#include "net/socket.h"

enum {
    CERTIFICATE_BYTES = 16,
    HANDSHAKE_TIMEOUT_US = 2000000,
    LOOK_UP_TIMEOUT_US = LOOK_UP_S * 1000000,
    PING_US = 1000000, /* the other side closes a link after three seconds of silence */
    BACKOFF_MIN_US = 10000,
    BACKOFF_MAX_US = 1000000,
};

enum state { WAITING, LOOKING_UP, CONNECTING, GREETING, READY };

/* A connection to one peer. */
struct line {
    uint64_t id;
    char name[HANDSHAKE_NAME_MAX + 1];
    char address[ADDRESS_TEXT_MAX];
    enum state state;
    int fd;          /* of the look-up, then of the connection; -1: none */
    uint64_t due_us; /* dial, give up on a look-up or a handshake, or ping */
    uint32_t backoff_us;
    bool pinged;    /* and no answer yet */
    bool certified; /* has the certificate that is being handed out */
    struct quiet quiet;
    struct frame_queue queue;
    struct frame_reader reader;
};

struct guardian_links {
    struct guardian_links_options options;
    const struct log *log;
    struct rng rng;
    struct line lines[RAFT_MEMBERS_MAX];
    uint32_t count;
    uint64_t now_us;
    uint8_t certificate[CERTIFICATE_BYTES];
    uint64_t certify_until_us; /* 0: nobody died lately */
    uint8_t scratch[FRAME_SCRATCH_BYTES];
};

struct guardian_links *guardian_links_new(const struct guardian_links_options *options,
                                          const struct log *log)
{
    ASSERT(options->self.role == HANDSHAKE_GUARDIAN);
    struct guardian_links *g = NEW(struct guardian_links);
    g->options = *options;
    if (g->options.look_up == NULL) {
        g->options.look_up = address_resolve;
    }
    g->log = log;
    rng_seed(&g->rng, options->seed);
    return g;
}

static void hang_up(struct line *l)
{
    if (l->fd >= 0) {
        close(l->fd);
    }
    l->fd = -1;
    l->state = WAITING;
    l->pinged = false;
    l->certified = false; /* it may have been lost with the connection; twice does no harm */
    frame_queue_close(&l->queue);
    frame_reader_close(&l->reader);
}

void guardian_links_free(struct guardian_links *g)
{
    if (g == NULL) {
        return;
    }
    for (uint32_t i = 0; i < g->count; i++) {
        hang_up(&g->lines[i]);
    }
    free(g);
}

/* ---- peers ---- */

static struct line *find(struct guardian_links *g, uint64_t id)
{
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->lines[i].id == id) {
            return &g->lines[i];
        }
    }
    return NULL;
}

static bool is_among(uint64_t id, const struct transport_peer *peers, uint32_t peers_count)
{
    for (uint32_t i = 0; i < peers_count; i++) {
        if (peers[i].id == id) {
            return true;
        }
    }
    return false;
}

static void drop_others(struct guardian_links *g, const struct transport_peer *peers,
                        uint32_t peers_count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        if (is_among(g->lines[i].id, peers, peers_count)) {
            g->lines[kept++] = g->lines[i];
        } else {
            hang_up(&g->lines[i]);
        }
    }
    g->count = kept;
}

static void set_peer(struct guardian_links *g, const struct transport_peer *peer)
{
    const char *address = dial_map_address(g->options.dial, peer->name, peer->address);
    struct line *l = find(g, peer->id);
    if (l == NULL) {
        ASSERT(g->count < RAFT_MEMBERS_MAX);
        l = &g->lines[g->count++];
        *l = (struct line){.id = peer->id, .fd = -1};
    } else if (strcmp(l->address, address) == 0) {
        return;
    }
    hang_up(l);
    l->due_us = 0;
    l->backoff_us = 0;
    snprintf(l->name, sizeof l->name, "%s", peer->name);
    snprintf(l->address, sizeof l->address, "%s", address);
}

void guardian_links_set_peers(struct guardian_links *g, const struct transport_peer *peers,
                              uint32_t peers_count)
{
    ASSERT(peers_count <= RAFT_MEMBERS_MAX);
    drop_others(g, peers, peers_count);
    for (uint32_t i = 0; i < peers_count; i++) {
        if (peers[i].id != g->options.self.node_id) {
            set_peer(g, &peers[i]);
        }
    }
}

/* ---- failing ---- */

static void retry_later(struct guardian_links *g, struct line *l)
{
    hang_up(l);
    uint32_t wait_us = l->backoff_us == 0 ? BACKOFF_MIN_US : l->backoff_us;
    l->backoff_us = wait_us > BACKOFF_MAX_US / 2 ? BACKOFF_MAX_US : 2 * wait_us;
    l->due_us = g->now_us + rng_range(&g->rng, wait_us / 2, wait_us + 1);
}

static void complain(struct guardian_links *g, struct line *l, enum err e, const char *reason)
{
    if (quiet_allows(&l->quiet, g->now_us)) {
        log_warn(g->log, "guardian has no link to peer", log_text("peer", l->name),
                 log_text("address", l->address), log_text("err", err_name(e)),
                 log_text("reason", reason));
    }
}

/* ---- the life of a line ---- */

static void fail(struct guardian_links *g, struct line *l, enum err e, const char *reason)
{
    complain(g, l, e, reason);
    retry_later(g, l);
}

static void connect_to(struct guardian_links *g, struct line *l, const struct socket_address *to)
{
    l->fd = socket_connect(to);
    if (l->fd < 0) {
        fail(g, l, ERR_UNREACHABLE, strerror(errno));
        return;
    }
    l->state = CONNECTING;
    l->due_us = g->now_us + HANDSHAKE_TIMEOUT_US;
}

/* Nothing here may wait for a name server, which is out of reach just when the network is cut and
 * the children of a leader that was have to be killed in time. */
static void dial(struct guardian_links *g, struct line *l)
{
    struct address address;
    struct socket_address to;
    struct why why = {0};
    enum err e = address_parse(l->address, 0, &address, &why);
    if (e != ERR_OK) {
        fail(g, l, e, why.text);
        return;
    }
    if (address_resolve_numeric(&address, &to) == ERR_OK) {
        connect_to(g, l, &to);
        return;
    }
    l->fd = look_up_start(&address, g->options.look_up);
    if (l->fd < 0) {
        fail(g, l, ERR_UNREACHABLE, strerror(errno));
        return;
    }
    l->state = LOOKING_UP;
    l->due_us = g->now_us + LOOK_UP_TIMEOUT_US;
}

static void looked_up(struct guardian_links *g, struct line *l)
{
    struct socket_address to;
    struct why why = {0};
    enum err e = look_up_take(l->fd, &to, &why);
    close(l->fd);
    l->fd = -1;
    if (e != ERR_OK) {
        fail(g, l, e, why.text);
    } else {
        connect_to(g, l, &to);
    }
}

static void write_queue(struct guardian_links *g, struct line *l)
{
    if (frame_queue_write(&l->queue, l->fd) == ERR_UNREACHABLE) {
        retry_later(g, l);
    }
}

static void push(struct line *l, struct bytes data)
{
    struct slice frame = slice_copy(data);
    frame_queue_push(&l->queue, frame);
    slice_close(&frame);
}

static void greet(struct guardian_links *g, struct line *l)
{
    if (socket_connect_result(l->fd) != 0) {
        retry_later(g, l); /* the node reports peers that are down; nobody needs it twice */
        return;
    }
    struct buffer hello = {0};
    handshake_encode(&g->options.self, &hello);
    push(l, buffer_bytes(&hello));
    buffer_close(&hello);
    l->state = GREETING;
    write_queue(g, l);
}

static void certify(struct guardian_links *g, struct line *l)
{
    if (!l->certified) {
        push(l, bytes_of(g->certificate, CERTIFICATE_BYTES));
        l->certified = true;
    }
}

static void become_ready(struct guardian_links *g, struct line *l)
{
    l->state = READY;
    l->backoff_us = 0;
    l->due_us = g->now_us + PING_US;
    if (g->now_us < g->certify_until_us) {
        certify(g, l);
        write_queue(g, l);
    }
}

struct taking {
    struct guardian_links *g;
    struct line *line;
};

static enum err judge(struct guardian_links *g, struct line *l, struct slice frame, struct why *why)
{
    struct handshake_answer answer;
    enum err e = handshake_answer_decode(slice_bytes(frame), &answer);
    if (e != ERR_OK) {
        return err_why(why, e, "it answers like no node of this version");
    }
    if (answer.verdict != ERR_OK) {
        return err_why(why, answer.verdict, "%s", answer.sentence);
    }
    if (answer.self.node_id != l->id || answer.self.cluster_id != g->options.self.cluster_id) {
        return err_why(why, ERR_WRONG_NODE, "%s of cluster \"%s\" answers there", answer.self.node,
                       answer.self.cluster);
    }
    return ERR_OK;
}

static bool take_frame(void *ctx, struct slice frame)
{
    struct taking *t = ctx;
    if (t->line->state == READY) {
        t->line->pinged = false;
        return true; /* a pong; nothing else is said on this line */
    }
    struct why why = {0};
    enum err e = judge(t->g, t->line, frame, &why);
    if (e != ERR_OK) {
        fail(t->g, t->line, e, why.text);
        return false;
    }
    become_ready(t->g, t->line);
    return t->line->state == READY;
}

static void handle(struct guardian_links *g, struct line *l, short revents)
{
    if (l->state == LOOKING_UP) {
        looked_up(g, l);
        return;
    }
    if (l->state == CONNECTING) {
        greet(g, l);
        return;
    }
    if (revents & (POLLIN | POLLHUP | POLLERR)) {
        struct taking t = {.g = g, .line = l};
        enum err e =
            frame_reader_read(&l->reader, l->fd, g->scratch, HANDSHAKE_BYTES_MAX, take_frame, &t);
        if (e == ERR_UNREACHABLE || e == ERR_TOO_LARGE) {
            retry_later(g, l);
        }
    }
    if ((revents & POLLOUT) && l->fd >= 0) {
        write_queue(g, l);
    }
}

static void handle_due(struct guardian_links *g, struct line *l)
{
    if (l->state == WAITING) {
        dial(g, l);
    } else if (l->state != READY || l->pinged) {
        retry_later(g, l); /* no answer in time */
    } else {
        l->pinged = true;
        l->due_us = g->now_us + PING_US;
        frame_queue_push(&l->queue, (struct slice){0});
        write_queue(g, l);
    }
}

/* ---- the caller's poll loop ---- */

uint32_t guardian_links_prepare(struct guardian_links *g, struct pollfd *fds, uint32_t fds_max)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < g->count && count < fds_max; i++) {
        const struct line *l = &g->lines[i];
        if (l->fd >= 0) {
            bool writes = l->state == CONNECTING || l->queue.count > 0;
            fds[count++] =
                (struct pollfd){.fd = l->fd, .events = (short)(POLLIN | (writes ? POLLOUT : 0))};
        }
    }
    return count;
}

uint64_t guardian_links_deadline_us(const struct guardian_links *g)
{
    uint64_t due_us = UINT64_MAX;
    for (uint32_t i = 0; i < g->count; i++) {
        due_us = g->lines[i].due_us < due_us ? g->lines[i].due_us : due_us;
    }
    return due_us;
}

static short revents_of(int fd, const struct pollfd *fds, uint32_t fds_count)
{
    for (uint32_t i = 0; i < fds_count; i++) {
        if (fds[i].fd == fd) {
            return fds[i].revents;
        }
    }
    return 0;
}

void guardian_links_step(struct guardian_links *g, const struct pollfd *fds, uint32_t fds_count,
                         uint64_t now_us)
{
    g->now_us = now_us;
    for (uint32_t i = 0; i < g->count; i++) {
        struct line *l = &g->lines[i];
        short revents = l->fd < 0 ? 0 : revents_of(l->fd, fds, fds_count);
        if (revents != 0) {
            handle(g, l, revents);
        }
        if (l->due_us <= now_us) {
            handle_due(g, l);
        }
    }
}

uint32_t guardian_links_ready(const struct guardian_links *g)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        count += g->lines[i].state == READY;
    }
    return count;
}

uint32_t guardian_links_certify(struct guardian_links *g, const uint8_t revealed[16],
                                uint64_t now_us, uint64_t keep_us)
{
    g->now_us = now_us;
    g->certify_until_us = now_us + keep_us;
    memcpy(g->certificate, revealed, CERTIFICATE_BYTES);
    uint32_t sent = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        struct line *l = &g->lines[i];
        l->certified = false;
        if (l->state == READY) {
            certify(g, l);
            write_queue(g, l);
            sent += l->state == READY && l->queue.count == 0;
        } else if (l->state == WAITING) {
            l->due_us = now_us; /* it counts now */
        }
    }
    return sent;
}
