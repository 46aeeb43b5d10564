/* What a peer sends, whole: node_receive() with arbitrary bytes. The node is a follower of two
 * others on a simulated disk; it may drop what it hears, and nothing else may happen to it. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "node/node.h"
#include "sim/cluster.h"

static void fill(void *ctx, void *out, size_t size_bytes)
{
    (void)ctx;
    memset(out, 7, size_bytes);
}

static void drop_frame(void *ctx, uint64_t peer, struct slice frame)
{
    (void)ctx;
    (void)peer;
    (void)frame;
}

static void drop_peers(void *ctx, const struct transport_peer *peers, uint32_t peers_count)
{
    (void)ctx;
    (void)peers;
    (void)peers_count;
}

static void job_finished(void *ctx, struct executor_job *job, uint64_t ordinal, bool synced)
{
    (void)ctx;
    (void)ordinal;
    (void)synced;
    job->done(job);
}

static struct node *open_node(const struct node_ports *ports)
{
    struct node_options options = {
        .name = "n1", .id = 1, .cluster = "fuzz", .raft = cluster_defaults(1).raft};
    options.members.count = 3;
    for (uint32_t i = 0; i < 3; i++) {
        options.members.at[i] = (struct membership_member){.id = i + 1, .voter = true};
        memcpy(options.members.at[i].name, (char[]){'n', (char)('1' + i), 0}, 3);
    }
    struct node *n = NULL;
    struct why why = {""};
    enum err err = node_open(&options, ports, &n, &why);
    ASSERT(err == ERR_OK);
    node_start(n);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct guardian_page page;
    memset(&page, 0, sizeof page);
    struct world *w = world_new(1);
    struct sim_clock clock;
    const struct sim_clock_setup setup = {.boot_us = 1000000000, .wall_ms = 1700000000000};
    sim_clock_init(&clock, w, &setup);
    struct sim_fs *fs = sim_fs_new(1, "n1");
    struct sim_executor executor;
    const struct sim_disk_rule rule = {.job = {.min_us = 1, .max_us = 2}};
    sim_executor_init(&executor, w, fs, &rule);
    executor.finished = job_finished;
    const struct entropy_port entropy = {.fill = fill};
    const struct transport_port transport = {.send = drop_frame, .set_peers = drop_peers};
    const struct node_ports ports = {.clock = sim_clock_port(&clock),
                                     .entropy = &entropy,
                                     .fs = sim_fs_port(fs),
                                     .disk = &executor.port,
                                     .transport = &transport,
                                     .page = &page};
    struct node *n = open_node(&ports);
    node_link_up(n, 2);
    /* Frames follow each other: two bytes of length, then as many bytes. */
    static const uint8_t incarnation[32] = {1};
    while (size >= 2) {
        size_t length = (size_t)data[0] << 8 | data[1];
        data += 2;
        size -= 2;
        length = length < size ? length : size;
        struct slice frame = slice_copy(bytes_of(data, length));
        node_receive(n, 2, incarnation, frame);
        slice_close(&frame);
        node_round_end(n);
        world_run_until(w, world_now_us(w) + 1000);
        if (node_deadline(n) <= sim_clock_now_us(&clock)) {
            node_tick(n);
        }
        data += length;
        size -= length;
    }
    sim_executor_reset(&executor);
    sim_fs_crash_process(fs);
    node_free(n);
    sim_fs_free(fs);
    world_free(w);
    return 0;
}
