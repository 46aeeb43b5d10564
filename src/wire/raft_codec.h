/* Raft messages as frames between peers. Each is one MessagePack array that begins with its type;
 * README.md lists their fields. Entry bodies travel as they are in the log. */
#ifndef MK_WIRE_RAFT_CODEC_H
#define MK_WIRE_RAFT_CODEC_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "raft/raft.h"
#include "wire/membership.h"

enum {
    RAFT_WIRE_TYPE_BASE = 16,      /* the type on the wire is this + enum raft_message_type */
    RAFT_WIRE_ENTRIES_MAX = 65536, /* per message */
};

/* An entry to send. body is an encoded struct entry. */
struct wire_entry {
    raft_term term;
    struct bytes body;
};

/* Append m to out. entries: those of an append, m->append.count of them (m->append.entries is not
 * looked at), else NULL. chunk: the bytes of an install_snapshot, m->install_snapshot.size_bytes of
 * them, else empty. */
void raft_message_encode(const struct raft_message *m, const struct wire_entry *entries,
                         struct bytes chunk, struct buffer *out);
/* At most this many bytes for a message without its bodies and chunk. */
size_t raft_message_overhead_bytes(const struct raft_message *m);

/* A received message. One of these is reused for all messages: its arrays grow to what was needed
 * once. Zeroed: empty. */
struct raft_decoded {
    struct raft_message message; /* append.entries points to metas */
    struct slice frame;          /* keeps what the others point to alive */
    struct bytes *bodies; /* append: count views into frame; take one with raft_decoded_body */
    struct raft_entry *metas;
    uint32_t entries_capacity;
    struct raft_members *configs; /* for each config entry of the append, in order */
    uint32_t configs_count;
    uint32_t configs_capacity;
    struct bytes chunk; /* install_snapshot: a view into frame */
};

/* Takes a reference to the frame until the next decode or close. Bodies and configurations are
 * checked to be well formed, so what enters the log can be read again.
 * Errors: TRUNCATED, INVALID, TOO_LARGE, VERSION (a configuration's); out then holds nothing. */
enum err raft_message_decode(struct slice frame, struct raft_decoded *out);
/* The i-th body, with a reference of its own to the frame. */
struct slice raft_decoded_body(const struct raft_decoded *d, uint32_t i);
/* The chunk of an install_snapshot, likewise. */
struct slice raft_decoded_chunk(const struct raft_decoded *d);
/* Accepts a zeroed object. */
void raft_decoded_close(struct raft_decoded *d);

/* What a frame between nodes is: peers also forward requests to each other, as MessagePack-RPC. */
enum peer_frame { PEER_FRAME_UNKNOWN, PEER_FRAME_RAFT, PEER_FRAME_RPC };
enum peer_frame peer_frame_of(struct bytes frame);
/* The type of a Raft message by its head alone; RAFT_MESSAGE_COUNT if it is something else. */
enum raft_message_type raft_frame_type(struct bytes frame);

#endif
