/* Links between nodes, over real sockets on loopback. All nodes of a test share one loop. */
#include "check.h"

#include <sys/wait.h>

#include "net/guardian_links.h"
#include "net/links.h"

enum { NODES_MAX = 3 };

struct test_node {
    struct links *links;
    struct transport_port transport;
    struct test_log log;
    unsigned ups, downs, frames, certificates;
    unsigned small_at; /* which of the frames was the last small one; 0: none */
    uint64_t last_peer;
    uint64_t bytes;
    struct raft_incarnation last_sender;
    struct buffer last_frame;
    uint8_t revealed[16];
    uint64_t dead;
    enum err refuse; /* what check_peer answers */
    unsigned refusals;
    enum err refused; /* the last verdict on this node */
    bool lets_go;     /* of all its peers, from inside the next callback */
};

static struct loop *loop;
static struct test_node nodes[NODES_MAX + 1]; /* by node id */

/* As a node does in the middle of a turn: a configuration without them came in. */
static void let_go(struct test_node *n)
{
    if (n->lets_go) {
        n->refuse = ERR_NOT_FOUND;
        n->transport.set_peers(n->transport.ctx, NULL, 0);
    }
}

static void on_frame(void *ctx, uint64_t peer, const struct raft_incarnation *sender,
                     struct slice frame)
{
    struct test_node *n = ctx;
    n->frames++;
    n->small_at = frame.size < 100 ? n->frames : n->small_at;
    n->bytes += frame.size;
    n->last_peer = peer;
    n->last_sender = *sender;
    buffer_clear(&n->last_frame);
    buffer_add_bytes(&n->last_frame, slice_bytes(frame));
    let_go(n);
}

static void on_up(void *ctx, uint64_t peer)
{
    struct test_node *n = ctx;
    n->ups++;
    n->last_peer = peer;
    let_go(n);
}

static void on_down(void *ctx, uint64_t peer)
{
    struct test_node *n = ctx;
    n->downs++;
    n->last_peer = peer;
    let_go(n);
}

static enum err check_peer(void *ctx, const struct handshake *peer, struct why *why)
{
    struct test_node *n = ctx;
    if (n->refuse != ERR_OK) {
        return err_why(why, n->refuse, "%s had another disk before", peer->node);
    }
    return ERR_OK;
}

static void on_refused(void *ctx, uint64_t peer, enum err verdict)
{
    struct test_node *n = ctx;
    n->refusals++;
    n->last_peer = peer;
    n->refused = verdict;
}

static void on_certificate(void *ctx, uint64_t dead, const uint8_t revealed[16])
{
    struct test_node *n = ctx;
    n->certificates++;
    n->dead = dead;
    memcpy(n->revealed, revealed, 16);
}

static struct links_options options_of(uint64_t id)
{
    struct links_options o = {.listen = loopback(0), .seed = id};
    o.self.cluster_id = 99;
    strcpy(o.self.cluster, "test");
    o.self.node_id = id;
    snprintf(o.self.node, sizeof o.self.node, "n%u", (unsigned)id);
    memset(o.self.incarnation.hash, (int)id, sizeof o.self.incarnation.hash);
    o.backoff_max_ms = 50;
    return o;
}

static void open_with(uint64_t id, const struct links_options *options)
{
    struct test_node *n = &nodes[id];
    const struct links_callbacks callbacks = {.ctx = n,
                                              .on_frame = on_frame,
                                              .on_up = on_up,
                                              .on_down = on_down,
                                              .check_peer = check_peer,
                                              .on_refused = on_refused,
                                              .on_certificate = on_certificate};
    test_log_init(&n->log);
    struct why why = {0};
    enum err e = links_open(loop, options, &callbacks, &n->log.log, &n->links, &why);
    assert_string_equal(why.text, "");
    assert_int_equal(e, ERR_OK);
    n->transport = links_transport(n->links);
}

static void open_node(uint64_t id)
{
    struct links_options o = options_of(id);
    open_with(id, &o);
}

static uint16_t port_of(uint64_t id)
{
    return links_address(nodes[id].links)->port;
}

static void dial(uint64_t from, uint64_t to, uint16_t port)
{
    char name[16], address[32];
    snprintf(name, sizeof name, "n%u", (unsigned)to);
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    struct transport_peer peer = {.id = to, .name = name, .address = address};
    nodes[from].transport.set_peers(nodes[from].transport.ctx, &peer, 1);
}

static void send_bytes(uint64_t from, uint64_t to, const void *data, size_t size)
{
    struct slice s = slice_copy(bytes_of(data, size));
    nodes[from].transport.send(nodes[from].transport.ctx, to, s);
    slice_close(&s);
}

static struct links_peer_stats stats_of(uint64_t node, uint64_t peer)
{
    struct links_peer_stats s = {0};
    assert_true(links_peer_stats(nodes[node].links, peer, &s));
    return s;
}

static int begin(void **state)
{
    (void)state;
    memset(nodes, 0, sizeof nodes);
    loop = loop_new();
    return 0;
}

static int end(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= NODES_MAX; i++) {
        links_close(nodes[i].links);
        buffer_close(&nodes[i].last_frame);
    }
    loop_free(loop);
    return 0;
}

/* n1 and n2, linked both ways. */
static void link_two(void)
{
    open_node(1);
    open_node(2);
    dial(1, 2, port_of(2));
    dial(2, 1, port_of(1));
    run_until(loop, nodes[1].ups == 1 && nodes[2].ups == 1);
}

static void frames_go_both_ways_with_their_senders_incarnation(void **state)
{
    (void)state;
    link_two();
    send_bytes(1, 2, "hello", 5);
    send_bytes(2, 1, "you", 3);
    run_until(loop, nodes[1].frames == 1 && nodes[2].frames == 1);
    assert_int_equal(nodes[2].last_peer, 1);
    assert_int_equal(nodes[2].last_sender.hash[31], 1);
    assert_true(bytes_equal(buffer_bytes(&nodes[2].last_frame), bytes_of_string("hello")));
    assert_true(bytes_equal(buffer_bytes(&nodes[1].last_frame), bytes_of_string("you")));
    assert_int_equal(stats_of(1, 2).sent_frames, 1);
    assert_int_equal(stats_of(1, 2).received_frames, 1);
    assert_int_equal(stats_of(1, 2).received_bytes, 3);
}

static void a_large_frame_arrives_as_it_was(void **state)
{
    (void)state;
    link_two();
    enum { SIZE = 3 << 20 };
    uint8_t *data = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) {
        data[i] = (uint8_t)(i * 131 >> 3);
    }
    send_bytes(1, 2, data, SIZE);
    run_until(loop, nodes[2].frames == 1);
    assert_true(bytes_equal(buffer_bytes(&nodes[2].last_frame), bytes_of(data, SIZE)));
    send_bytes(1, 2, "after", 5);
    run_until(loop, nodes[2].frames == 2);
    free(data);
}

static void many_frames_of_a_round_arrive_in_order(void **state)
{
    (void)state;
    link_two();
    for (uint32_t i = 0; i < 5000; i++) {
        send_bytes(1, 2, &i, sizeof i);
    }
    run_until(loop, nodes[2].frames == 5000);
    uint32_t last;
    memcpy(&last, nodes[2].last_frame.data, sizeof last);
    assert_int_equal(last, 4999);
    assert_int_equal(stats_of(1, 2).dropped_frames, 0);
}

static void a_node_that_is_not_there_yet_is_reached_when_it_is(void **state)
{
    (void)state;
    open_node(2);
    uint16_t port = port_of(2);
    links_close(nodes[2].links);
    nodes[2].links = NULL;
    open_node(1);
    dial(1, 2, port);
    run_for(loop, 60000);
    assert_int_equal(nodes[1].ups, 0);
    send_bytes(1, 2, "lost", 4);
    assert_int_equal(stats_of(1, 2).dropped_frames, 1);
    struct links_options o = options_of(2);
    o.listen = loopback(port);
    open_with(2, &o);
    run_until(loop, nodes[1].ups == 1);
    send_bytes(1, 2, "hello", 5);
    run_until(loop, nodes[2].frames == 1);
}

static void a_restarted_node_is_lost_and_found_again(void **state)
{
    (void)state;
    link_two();
    uint16_t port = port_of(2);
    links_close(nodes[2].links);
    nodes[2].links = NULL;
    run_until(loop, nodes[1].downs == 1);
    assert_false(stats_of(1, 2).up);
    struct links_options o = options_of(2);
    o.listen = loopback(port);
    memset(o.self.incarnation.hash, 77, sizeof o.self.incarnation.hash);
    open_with(2, &o);
    run_until(loop, nodes[1].ups == 2);
    dial(2, 1, port_of(1));
    run_until(loop, nodes[2].ups == 2);
    send_bytes(2, 1, "new", 3);
    run_until(loop, nodes[1].frames == 1);
    assert_int_equal(nodes[1].last_sender.hash[0], 77);
}

static void a_peer_that_dials_us_is_dialled_at_once(void **state)
{
    (void)state;
    open_node(2);
    uint16_t port = port_of(2);
    links_close(nodes[2].links);
    nodes[2].links = NULL;
    struct links_options o = options_of(1);
    o.backoff_min_ms = 60000; /* back-off alone would take a minute */
    o.backoff_max_ms = 60000;
    open_with(1, &o);
    dial(1, 2, port);
    run_for(loop, 30000); /* it has tried and waits */
    o = options_of(2);
    o.listen = loopback(port);
    open_with(2, &o);
    dial(2, 1, port_of(1));
    run_until(loop, nodes[1].ups == 1 && nodes[2].ups == 1);
}

static void a_cluster_of_the_same_name_and_other_members_is_told_so(void **state)
{
    (void)state;
    open_node(1);
    struct links_options o = options_of(2);
    o.self.cluster_id = 100;
    open_with(2, &o);
    dial(2, 1, port_of(1));
    run_until(loop, nodes[2].log.lines > 0 && nodes[1].log.lines > 0);
    assert_non_null(strstr(nodes[2].log.last, "formed of other members"));
    assert_non_null(strstr(nodes[1].log.last, "formed of other members"));
}

static void another_cluster_is_refused_with_both_names(void **state)
{
    (void)state;
    open_node(1);
    struct links_options o = options_of(2);
    o.self.cluster_id = 100;
    strcpy(o.self.cluster, "staging");
    open_with(2, &o);
    dial(2, 1, port_of(1));
    run_until(loop, nodes[2].log.lines > 0 && nodes[1].log.lines > 0);
    assert_non_null(strstr(nodes[2].log.last, "wrong_cluster"));
    assert_non_null(strstr(nodes[2].log.last, "staging"));
    assert_non_null(strstr(nodes[2].log.last, "\\\"test\\\""));
    assert_non_null(strstr(nodes[1].log.last, "wrong_cluster"));
    assert_int_equal(stats_of(2, 1).refused, ERR_WRONG_CLUSTER);
    assert_int_equal(nodes[2].ups, 0);
    unsigned lines = nodes[2].log.lines; /* it goes on trying, quietly */
    run_for(loop, 150000);
    assert_int_equal(nodes[2].log.lines, lines);
    assert_int_equal(nodes[1].log.lines, 1);
}

static void a_refusal_by_the_node_reaches_the_other_sides_log_and_can_end(void **state)
{
    (void)state;
    open_node(1);
    nodes[1].refuse = ERR_WRONG_NODE;
    open_node(2);
    dial(2, 1, port_of(1));
    run_until(loop, nodes[2].log.lines > 0);
    assert_non_null(strstr(nodes[2].log.last, "n2 had another disk before"));
    assert_int_equal(stats_of(2, 1).refused, ERR_WRONG_NODE);
    assert_int_equal(nodes[2].refusals, 1);
    assert_int_equal(nodes[2].last_peer, 1);
    assert_int_equal(nodes[2].refused, ERR_WRONG_NODE);
    nodes[1].refuse = ERR_OK;
    run_until(loop, nodes[2].ups == 1);
    assert_int_equal(stats_of(2, 1).refused, ERR_OK);
}

static void a_dialler_judges_who_answers(void **state)
{
    (void)state;
    open_node(1);
    open_node(3);
    nodes[1].refuse = ERR_OK;
    dial(1, 2, port_of(3)); /* the address of n2 leads to n3 */
    run_until(loop, nodes[1].log.lines > 0);
    assert_non_null(strstr(nodes[1].log.last, "wrong_node"));
    assert_non_null(strstr(nodes[1].log.last, "n3 answers at"));
    assert_int_equal(nodes[1].refusals, 0); /* our own judgement is no verdict on us */
    assert_int_equal(nodes[1].ups, 0);
}

static void a_node_with_our_own_name_is_refused(void **state)
{
    (void)state;
    open_node(1);
    struct links_options o = options_of(1);
    open_with(2, &o);
    dial(2, 3, port_of(1));
    run_until(loop, nodes[2].log.lines > 0);
    assert_non_null(strstr(nodes[2].log.last, "both sides are n1"));
}

static void a_new_address_is_dialled_and_the_old_link_reported_down(void **state)
{
    (void)state;
    link_two();
    struct links_options o = options_of(2);
    open_with(3, &o); /* n2 on another port */
    dial(1, 2, port_of(3));
    assert_int_equal(nodes[1].downs, 0); /* never from inside set_peers() */
    run_until(loop, nodes[1].downs == 1 && nodes[1].ups == 2);
    send_bytes(1, 2, "x", 1);
    run_until(loop, nodes[3].frames == 1);
    assert_int_equal(nodes[2].frames, 0);
}

static void a_peer_that_is_none_any_more_is_let_go(void **state)
{
    (void)state;
    link_two();
    nodes[1].transport.set_peers(nodes[1].transport.ctx, NULL, 0);
    struct links_peer_stats s;
    assert_false(links_peer_stats(nodes[1].links, 2, &s));
    send_bytes(1, 2, "x", 1); /* to nobody */
    run_for(loop, 30000);
    assert_int_equal(nodes[2].frames, 0);
    assert_int_equal(nodes[1].downs, 0); /* who removes a peer knows */
}

static void the_peers_may_change_from_inside_a_frame(void **state)
{
    (void)state;
    link_two();
    nodes[2].lets_go = true;
    for (int i = 0; i < 10; i++) {
        send_bytes(1, 2, "configuration", 13); /* these arrive together */
    }
    run_until(loop, nodes[2].frames > 0 && nodes[1].downs > 0);
    run_for(loop, 30000);
    assert_int_equal(nodes[2].frames, 1); /* nothing more of who is not let in any more */
    struct links_peer_stats s;
    assert_false(links_peer_stats(nodes[2].links, 1, &s));
}

static void the_peers_may_change_when_a_link_comes_up_or_breaks(void **state)
{
    (void)state;
    open_node(1);
    open_node(2);
    nodes[1].lets_go = true;
    dial(1, 2, port_of(2));
    run_until(loop, nodes[1].ups == 1);
    run_for(loop, 30000);
    struct links_peer_stats s;
    assert_false(links_peer_stats(nodes[1].links, 2, &s));
    nodes[1].lets_go = false;
    nodes[1].refuse = ERR_OK;
    dial(1, 2, port_of(2));
    run_until(loop, nodes[1].ups == 2);
    nodes[1].lets_go = true;
    links_close(nodes[2].links);
    nodes[2].links = NULL;
    run_until(loop, nodes[1].downs == 1);
    run_for(loop, 30000);
    assert_false(links_peer_stats(nodes[1].links, 2, &s));
}

/* ---- strangers ---- */

static void garbage_is_closed_and_logged_once(void **state)
{
    (void)state;
    link_two();
    static const struct {
        const char *data;
        size_t size;
    } garbage[] = {
        {"GET / HTTP/1.1\r\n\r\n", 18},
        {"\x16\x03\x01\x02\x00\x01\x00", 7},
        {"\xff\xff\xff\xff", 4},
        {"\0\0\0\0", 4},
        {"\0\0\0\3abc", 7},
        {"\0\0\0\1\xc1", 5},
    };
    for (unsigned i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        int fd = connect_raw(port_of(1));
        run_until(loop, send(fd, garbage[i].data, garbage[i].size, MSG_NOSIGNAL) > 0);
        run_until(loop, is_closed(fd, NULL));
        close(fd);
    }
    assert_int_equal(nodes[1].log.lines, 1);
    send_bytes(2, 1, "still here", 10);
    run_until(loop, nodes[1].frames == 1);
}

static void who_says_nothing_is_closed(void **state)
{
    (void)state;
    struct links_options o = options_of(1);
    o.handshake_timeout_ms = 30;
    open_with(1, &o);
    int fd = connect_raw(port_of(1));
    run_until(loop, is_closed(fd, NULL));
    close(fd);
}

static void connections_beyond_the_limit_are_closed(void **state)
{
    (void)state;
    struct links_options o = options_of(1);
    o.connections_max = 2;
    open_with(1, &o);
    int first = connect_raw(port_of(1)), second = connect_raw(port_of(1));
    run_for(loop, 10000);
    int third = connect_raw(port_of(1));
    run_until(loop, is_closed(third, NULL));
    assert_false(is_closed(first, NULL));
    assert_false(is_closed(second, NULL));
    close(first);
    run_for(loop, 10000);
    int fourth = connect_raw(port_of(1));
    run_for(loop, 10000);
    assert_false(is_closed(fourth, NULL));
    close(second);
    close(third);
    close(fourth);
}

/* A greeting by hand, as node id. */
static int greet_raw(uint64_t to, uint64_t id, enum handshake_role role, struct buffer *answer)
{
    struct links_options o = options_of(id);
    o.self.role = role;
    struct buffer hello = {0};
    handshake_encode(&o.self, &hello);
    uint8_t head[4] = {0, 0, (uint8_t)(hello.size >> 8), (uint8_t)hello.size};
    int fd = connect_raw(port_of(to));
    run_until(loop, send(fd, head, 4, MSG_NOSIGNAL) == 4);
    send_raw(fd, hello.data, hello.size);
    buffer_close(&hello);
    run_until(loop, !is_closed(fd, answer) && answer->size > 4);
    struct handshake_answer a;
    assert_int_equal(handshake_answer_decode(bytes_of(answer->data + 4, answer->size - 4), &a),
                     ERR_OK);
    assert_int_equal(a.verdict, ERR_OK);
    buffer_clear(answer);
    return fd;
}

static void an_oversized_frame_ends_the_connection_before_memory_is_taken(void **state)
{
    (void)state;
    open_node(1);
    struct buffer in = {0};
    int fd = greet_raw(1, 2, HANDSHAKE_NODE, &in);
    send_raw(fd, "\x01\x00\x00\x01", 4); /* 16 MiB and a byte */
    run_until(loop, is_closed(fd, &in));
    assert_non_null(strstr(nodes[1].log.last, "too_large"));
    close(fd);
    buffer_close(&in);
}

static void a_ping_is_answered(void **state)
{
    (void)state;
    open_node(1);
    struct buffer in = {0};
    int fd = greet_raw(1, 2, HANDSHAKE_NODE, &in);
    send_raw(fd, "\0\0\0\0\0\0\0\0", 8);
    run_until(loop, !is_closed(fd, &in) && in.size == 8);
    assert_memory_equal(in.data, "\0\0\0\0\0\0\0\0", 8);
    close(fd);
    buffer_close(&in);
}

static void an_older_connection_of_the_same_node_is_closed(void **state)
{
    (void)state;
    open_node(1);
    struct buffer in = {0};
    int old = greet_raw(1, 2, HANDSHAKE_NODE, &in);
    int other = greet_raw(1, 3, HANDSHAKE_NODE, &in);
    int new = greet_raw(1, 2, HANDSHAKE_NODE, &in);
    run_until(loop, is_closed(old, NULL));
    assert_false(is_closed(other, NULL));
    assert_false(is_closed(new, NULL));
    close(old);
    close(other);
    close(new);
    buffer_close(&in);
}

static void a_silent_connection_is_closed(void **state)
{
    (void)state;
    struct links_options o = options_of(1);
    o.dead_after_ms = 40;
    open_with(1, &o);
    struct buffer in = {0};
    int fd = greet_raw(1, 2, HANDSHAKE_NODE, &in);
    run_until(loop, is_closed(fd, NULL));
    close(fd);
    buffer_close(&in);
}

/* A listener by hand that accepts, answers as node id, and then neither reads nor writes. */
struct dummy {
    int listening, fd;
    uint16_t port;
};

static struct dummy open_dummy(uint64_t from, uint64_t id)
{
    struct dummy d = {.fd = -1};
    struct address a = loopback(0), bound;
    assert_int_equal(address_listen(&a, &d.listening, &bound, NULL), ERR_OK);
    d.port = bound.port;
    dial(from, id, d.port);
    run_until(loop, (d.fd = accept4(d.listening, NULL, NULL, SOCK_NONBLOCK)) >= 0);
    struct buffer in = {0};
    run_until(loop, !is_closed(d.fd, &in) && in.size > 4);
    buffer_clear(&in);
    struct handshake_answer answer = {.verdict = ERR_OK, .self = options_of(id).self};
    handshake_answer_encode(&answer, &in);
    uint8_t head[4] = {0, 0, (uint8_t)(in.size >> 8), (uint8_t)in.size};
    send_raw(d.fd, head, 4);
    send_raw(d.fd, in.data, in.size);
    buffer_close(&in);
    run_until(loop, nodes[from].ups > 0);
    return d;
}

static void close_dummy(struct dummy *d)
{
    close(d->fd);
    close(d->listening);
}

static void a_peer_that_answers_no_ping_is_dead(void **state)
{
    (void)state;
    struct links_options o = options_of(1);
    o.ping_after_ms = 5;
    o.dead_after_ms = 40;
    open_with(1, &o);
    struct dummy d = open_dummy(1, 2);
    run_until(loop, nodes[1].downs == 1);
    close_dummy(&d);
}

static void a_living_peer_is_measured_and_not_lost(void **state)
{
    (void)state;
    struct links_options o = options_of(1);
    o.ping_after_ms = 2;
    o.dead_after_ms = 40;
    open_with(1, &o);
    open_node(2);
    dial(1, 2, port_of(2));
    run_until(loop, nodes[1].ups == 1);
    run_for(loop, 120000);
    assert_int_equal(nodes[1].downs, 0);
    assert_true(stats_of(1, 2).round_trip_us > 0);
    assert_true(stats_of(1, 2).round_trip_us < 20000);
}

static void what_a_slow_peer_does_not_take_is_dropped_but_small_frames_have_room(void **state)
{
    (void)state;
    struct links_options o = options_of(1);
    o.queue_bytes_max = 1 << 20;
    open_with(1, &o);
    struct dummy d = open_dummy(1, 2);
    static uint8_t large[256 * 1024];
    for (int i = 0; i < 100; i++) {
        send_bytes(1, 2, large, sizeof large);
        loop_round(loop, 0);
    }
    struct links_peer_stats s = stats_of(1, 2);
    assert_true(s.up);
    assert_true(s.dropped_frames > 0);
    assert_true(s.queued_bytes <= o.queue_bytes_max);
    for (uint64_t dropped = s.dropped_frames; stats_of(1, 2).dropped_frames == dropped;) {
        send_bytes(1, 2, large, 5000); /* to the brim */
    }
    uint64_t dropped = stats_of(1, 2).dropped_frames;
    for (int i = 0; i < 1000; i++) {
        send_bytes(1, 2, "heartbeat", 9);
    }
    assert_int_equal(stats_of(1, 2).dropped_frames, dropped);
    /* Once it reads again, what was kept arrives. */
    struct buffer in = {0};
    uint64_t expected = stats_of(1, 2).sent_bytes + 4 * stats_of(1, 2).sent_frames;
    run_until(loop, !is_closed(d.fd, &in) && in.size == expected);
    assert_memory_equal(in.data + in.size - 9, "heartbeat", 9);
    buffer_close(&in);
    close_dummy(&d);
}

static void what_gives_way_is_overtaken_and_bounded(void **state)
{
    (void)state;
    link_two();
    static uint8_t large[256 * 1024];
    struct slice frame = slice_copy(bytes_of(large, sizeof large));
    unsigned taken = 0;
    while (nodes[1].transport.send_behind(nodes[1].transport.ctx, 2, frame)) {
        taken++;
    }
    slice_close(&frame);
    assert_in_range(taken, 14, 16); /* 4 MiB */
    assert_int_equal(stats_of(1, 2).dropped_frames, 1);
    loop_round(loop, 0);
    send_bytes(1, 2, "heartbeat", 9);
    run_until(loop, nodes[2].small_at > 0);
    assert_true(nodes[2].small_at < taken / 2); /* it waited for what was on its way, no more */
    run_until(loop, nodes[2].frames == taken + 1);
}

/* A machine with more to do than cores has a round every few milliseconds: a thousand small frames
 * must not take a thousand. */
static void small_frames_give_way_together(void **state)
{
    (void)state;
    link_two();
    struct slice frame = slice_copy(bytes_of("a call of a script, or its answer", 33));
    for (int i = 0; i < 1000; i++) {
        assert_true(nodes[1].transport.send_behind(nodes[1].transport.ctx, 2, frame));
    }
    slice_close(&frame);
    unsigned rounds = 0;
    run_until(loop, (rounds++, nodes[2].frames == 1000));
    assert_in_range(rounds, 2, 100);
}

static void a_frame_on_the_wrong_side_ends_the_link(void **state)
{
    (void)state;
    open_node(1);
    struct dummy d = open_dummy(1, 2);
    send_raw(d.fd, "\0\0\0\1x", 5);
    run_until(loop, nodes[1].downs == 1);
    close_dummy(&d);
}

/* ---- the guardian ---- */

static struct guardian_links *new_guardian(uint64_t id)
{
    struct guardian_links_options o = {.self = options_of(id).self, .seed = 1};
    o.self.role = HANDSHAKE_GUARDIAN;
    return guardian_links_new(&o, NULL);
}

static void guardian_dial(struct guardian_links *g, uint64_t to)
{
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", port_of(to));
    struct transport_peer peer = {.id = to, .name = "n", .address = address};
    guardian_links_set_peers(g, &peer, 1);
}

/* The guardian's poll loop, one round. */
static void guardian_round(struct guardian_links *g)
{
    struct pollfd fds[RAFT_MEMBERS_MAX];
    uint32_t count = guardian_links_prepare(g, fds, RAFT_MEMBERS_MAX);
    poll(fds, count, 0);
    guardian_links_step(g, fds, count, now_us());
}

static void a_certificate_reaches_the_peers(void **state)
{
    (void)state;
    open_node(1);
    struct guardian_links *g = new_guardian(2);
    guardian_dial(g, 1);
    run_until(loop, (guardian_round(g), guardian_links_ready(g) == 1));
    assert_int_equal(guardian_links_certify(g, (const uint8_t *)"0123456789abcdef", now_us(), 0),
                     1);
    run_until(loop, nodes[1].certificates == 1);
    assert_int_equal(nodes[1].dead, 2);
    assert_memory_equal(nodes[1].revealed, "0123456789abcdef", 16);
    assert_int_equal(nodes[1].frames, 0);
    /* The connection stays, for the next death. */
    assert_int_equal(guardian_links_certify(g, (const uint8_t *)"fedcba9876543210", now_us(), 0),
                     1);
    run_until(loop, nodes[1].certificates == 2);
    guardian_links_free(g);
}

static void a_certificate_is_kept_for_a_peer_that_comes_later(void **state)
{
    (void)state;
    open_node(1);
    struct guardian_links *g = new_guardian(2);
    guardian_dial(g, 1);
    assert_int_equal(
        guardian_links_certify(g, (const uint8_t *)"0123456789abcdef", now_us(), PATIENCE_US), 0);
    run_until(loop, (guardian_round(g), nodes[1].certificates == 1));
    guardian_links_free(g);
}

static void a_peer_that_returns_in_time_gets_the_certificate_again(void **state)
{
    (void)state;
    open_node(1);
    uint16_t port = port_of(1);
    struct guardian_links *g = new_guardian(2);
    guardian_dial(g, 1);
    run_until(loop, (guardian_round(g), guardian_links_ready(g) == 1));
    guardian_links_certify(g, (const uint8_t *)"0123456789abcdef", now_us(), PATIENCE_US);
    links_close(nodes[1].links); /* it may die with the certificate unread */
    run_until(loop, (guardian_round(g), guardian_links_ready(g) == 0));
    struct links_options o = options_of(1);
    o.listen = loopback(port);
    open_with(1, &o);
    run_until(loop, (guardian_round(g), nodes[1].certificates == 1));
    guardian_links_free(g);
}

static uint16_t looked_up_port;

static enum err find_itself(const struct address *a, struct socket_address *out, struct why *why)
{
    (void)a;
    struct address self = loopback(looked_up_port);
    return address_resolve(&self, out, why);
}

static enum err never_answer(const struct address *a, struct socket_address *out, struct why *why)
{
    (void)a, (void)out, (void)why;
    pause();
    return ERR_TIMEOUT;
}

static void a_guardian_looks_up_the_names_of_hosts(void **state)
{
    (void)state;
    open_node(1);
    looked_up_port = port_of(1);
    struct guardian_links_options o = {.self = options_of(2).self, .look_up = find_itself};
    o.self.role = HANDSHAKE_GUARDIAN;
    struct guardian_links *g = guardian_links_new(&o, NULL);
    struct transport_peer peer = {.id = 1, .name = "n", .address = "node1.example:1"};
    guardian_links_set_peers(g, &peer, 1);
    run_until(loop, (guardian_round(g), guardian_links_ready(g) == 1));
    guardian_links_free(g);
    assert_true(wait(NULL) > 0);
}

/* It was looked up on the spot: until the name server's time was over, the guardian killed no child
 * at its deadline, and told nobody of a death. */
static void a_guardian_does_not_wait_for_a_name_server(void **state)
{
    (void)state;
    open_node(1);
    struct guardian_links_options o = {.self = options_of(2).self, .look_up = never_answer};
    o.self.role = HANDSHAKE_GUARDIAN;
    struct guardian_links *g = guardian_links_new(&o, NULL);
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", port_of(1));
    struct transport_peer peers[] = {{.id = 3, .name = "n3", .address = "node3.example:1"},
                                     {.id = 1, .name = "n", .address = address}};
    guardian_links_set_peers(g, peers, 2);
    run_until(loop, (guardian_round(g), guardian_links_ready(g) == 1));
    assert_int_equal(guardian_links_certify(g, (const uint8_t *)"0123456789abcdef", now_us(), 0),
                     1);
    run_until(loop, nodes[1].certificates == 1);
    guardian_links_free(g);
}

static void an_old_certificate_is_not_handed_out(void **state)
{
    (void)state;
    open_node(1);
    struct guardian_links *g = new_guardian(2);
    guardian_dial(g, 1);
    guardian_links_certify(g, (const uint8_t *)"0123456789abcdef", now_us() - 2000, 1000);
    run_until(loop, (guardian_round(g), guardian_links_ready(g) == 1));
    run_for(loop, 20000);
    assert_int_equal(nodes[1].certificates, 0);
    guardian_links_free(g);
}

static void a_guardian_keeps_its_link_alive_and_finds_its_peer_again(void **state)
{
    (void)state;
    struct links_options o = options_of(1);
    open_with(1, &o);
    uint16_t port = port_of(1);
    struct guardian_links *g = new_guardian(2);
    guardian_dial(g, 1);
    run_until(loop, (guardian_round(g), guardian_links_ready(g) == 1));
    /* Its pings are answered: time passes in the guardian's clock only. */
    struct pollfd fds[RAFT_MEMBERS_MAX];
    uint64_t later_us = now_us();
    for (int i = 0; i < 5; i++) {
        later_us += 1000001;
        guardian_links_step(g, fds, 0, later_us);
        run_for(loop, 5000);
        uint32_t count = guardian_links_prepare(g, fds, RAFT_MEMBERS_MAX);
        poll(fds, count, 1000);
        guardian_links_step(g, fds, count, later_us);
        assert_int_equal(guardian_links_ready(g), 1);
    }
    links_close(nodes[1].links);
    o.listen = loopback(port);
    open_with(1, &o);
    run_until(loop, (guardian_round(g), guardian_links_ready(g) == 0));
    later_us += 1000001;
    guardian_links_step(g, fds, 0, later_us);
    run_until(loop, (guardian_round(g), guardian_links_ready(g) == 1));
    guardian_links_free(g);
}

static void what_a_guardian_says_must_be_a_certificate(void **state)
{
    (void)state;
    open_node(1);
    struct buffer in = {0};
    int fd = greet_raw(1, 2, HANDSHAKE_GUARDIAN, &in);
    send_raw(fd,
             "\0\0\0\x0f"
             "0123456789abcde",
             19);
    run_until(loop, is_closed(fd, NULL));
    assert_int_equal(nodes[1].certificates, 0);
    close(fd);
    buffer_close(&in);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(frames_go_both_ways_with_their_senders_incarnation),
        TEST(a_large_frame_arrives_as_it_was),
        TEST(many_frames_of_a_round_arrive_in_order),
        TEST(a_node_that_is_not_there_yet_is_reached_when_it_is),
        TEST(a_restarted_node_is_lost_and_found_again),
        TEST(a_peer_that_dials_us_is_dialled_at_once),
        TEST(a_cluster_of_the_same_name_and_other_members_is_told_so),
        TEST(another_cluster_is_refused_with_both_names),
        TEST(a_refusal_by_the_node_reaches_the_other_sides_log_and_can_end),
        TEST(a_dialler_judges_who_answers),
        TEST(a_node_with_our_own_name_is_refused),
        TEST(a_new_address_is_dialled_and_the_old_link_reported_down),
        TEST(a_peer_that_is_none_any_more_is_let_go),
        TEST(the_peers_may_change_from_inside_a_frame),
        TEST(the_peers_may_change_when_a_link_comes_up_or_breaks),
        TEST(garbage_is_closed_and_logged_once),
        TEST(who_says_nothing_is_closed),
        TEST(connections_beyond_the_limit_are_closed),
        TEST(an_oversized_frame_ends_the_connection_before_memory_is_taken),
        TEST(a_ping_is_answered),
        TEST(an_older_connection_of_the_same_node_is_closed),
        TEST(a_silent_connection_is_closed),
        TEST(a_peer_that_answers_no_ping_is_dead),
        TEST(a_living_peer_is_measured_and_not_lost),
        TEST(what_a_slow_peer_does_not_take_is_dropped_but_small_frames_have_room),
        TEST(what_gives_way_is_overtaken_and_bounded),
        TEST(small_frames_give_way_together),
        TEST(a_frame_on_the_wrong_side_ends_the_link),
        TEST(a_certificate_reaches_the_peers),
        TEST(a_certificate_is_kept_for_a_peer_that_comes_later),
        TEST(a_peer_that_returns_in_time_gets_the_certificate_again),
        TEST(a_guardian_looks_up_the_names_of_hosts),
        TEST(a_guardian_does_not_wait_for_a_name_server),
        TEST(an_old_certificate_is_not_handed_out),
        TEST(a_guardian_keeps_its_link_alive_and_finds_its_peer_again),
        TEST(what_a_guardian_says_must_be_a_certificate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
