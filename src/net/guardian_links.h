/* The guardian's connections to the peers of its node: dialled, introduced and kept warm, so that a
 * death certificate leaves in the instant that it is needed.
 *
 * The guardian is a tiny process with a poll(2) loop of its own, hence no libevent and no thread
 * here:
 *
 *     count = guardian_links_prepare(g, fds, fds_max);
 *     poll(fds, count, until guardian_links_deadline_us(g));
 *     guardian_links_step(g, fds, count, now_us);
 */
#ifndef MK_NET_GUARDIAN_LINKS_H
#define MK_NET_GUARDIAN_LINKS_H

#include <poll.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/log.h"
#include "net/dial_map.h"
#include "net/look_up.h"
#include "port/transport.h"
#include "raft/raft.h"
#include "wire/handshake.h"

struct guardian_links;

struct guardian_links_options {
    struct handshake self; /* role HANDSHAKE_GUARDIAN, node_id of its node */
    uint64_t seed;
    const struct dial_map *dial; /* NULL: peers are dialled where they say */
    look_up_fn *look_up;         /* how a host's name is looked up; NULL: address_resolve */
};

struct guardian_links *guardian_links_new(const struct guardian_links_options *options,
                                          const struct log *log);
/* Accepts NULL. */
void guardian_links_free(struct guardian_links *g);

/* Replaces the previous set; RAFT_MEMBERS_MAX at most. A host's name is looked up at each attempt,
 * in a child process (look_up.h) that the caller reaps. */
void guardian_links_set_peers(struct guardian_links *g, const struct transport_peer *peers,
                              uint32_t peers_count);

/* What to poll for. At most RAFT_MEMBERS_MAX. */
uint32_t guardian_links_prepare(struct guardian_links *g, struct pollfd *fds, uint32_t fds_max);
/* When to call step even if nothing happened; UINT64_MAX: never. */
uint64_t guardian_links_deadline_us(const struct guardian_links *g);
void guardian_links_step(struct guardian_links *g, const struct pollfd *fds, uint32_t fds_count,
                         uint64_t now_us);

/* Send the death certificate of the node to all peers, now. Those without a connection at the
 * moment get it when they have one, if that is within keep_us: a peer that was just restarting
 * needs it too. Returns how many took it at once. */
uint32_t guardian_links_certify(struct guardian_links *g, const uint8_t revealed[16],
                                uint64_t now_us, uint64_t keep_us);
/* Connections ready to take a certificate. */
uint32_t guardian_links_ready(const struct guardian_links *g);

#endif
