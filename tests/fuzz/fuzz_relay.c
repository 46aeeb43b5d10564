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

/* A node is opened for every so many inputs: that takes far longer than the frames do. */
enum { INPUTS_PER_NODE = 256 };

static struct rig {
    struct world *world;
    struct sim_clock clock;
    struct sim_fs *fs;
    struct sim_executor executor;
    struct entropy_port entropy;
    struct transport_port transport;
    struct guardian_page page;
    struct node *node;
    int inputs;
} rig;

static void rig_close(void)
{
    if (rig.node != NULL) {
        sim_executor_reset(&rig.executor);
        sim_fs_crash_process(rig.fs);
        node_free(rig.node);
        sim_fs_free(rig.fs);
        world_free(rig.world);
    }
    rig = (struct rig){0};
}

static void rig_open(void)
{
    rig.world = world_new(1);
    const struct sim_clock_setup setup = {.boot_us = 1000000000, .wall_ms = 1700000000000};
    sim_clock_init(&rig.clock, rig.world, &setup);
    rig.fs = sim_fs_new(1, "n1");
    const struct sim_disk_rule rule = {.job = {.min_us = 1, .max_us = 2}};
    sim_executor_init(&rig.executor, rig.world, rig.fs, &rule);
    rig.executor.finished = job_finished;
    rig.entropy = (struct entropy_port){.fill = fill};
    rig.transport = (struct transport_port){.send = drop_frame, .set_peers = drop_peers};
    const struct node_ports ports = {.clock = sim_clock_port(&rig.clock),
                                     .entropy = &rig.entropy,
                                     .fs = sim_fs_port(rig.fs),
                                     .disk = &rig.executor.port,
                                     .transport = &rig.transport,
                                     .page = &rig.page};
    rig.node = open_node(&ports);
    node_link_up(rig.node, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (rig.inputs++ % INPUTS_PER_NODE == 0) {
        static bool closes_at_exit;
        if (!closes_at_exit) {
            closes_at_exit = atexit(rig_close) == 0;
        }
        rig_close();
        rig.inputs = 1;
        rig_open();
    }
    /* Frames follow each other: two bytes of length, then as many bytes. */
    static const uint8_t incarnation[32] = {1};
    while (size >= 2) {
        size_t length = (size_t)data[0] << 8 | data[1];
        data += 2;
        size -= 2;
        length = length < size ? length : size;
        struct slice frame = slice_copy(bytes_of(data, length));
        node_receive(rig.node, 2, incarnation, frame);
        slice_close(&frame);
        node_round_end(rig.node);
        world_run_until(rig.world, world_now_us(rig.world) + 1000);
        if (node_deadline(rig.node) <= sim_clock_now_us(&rig.clock)) {
            node_tick(rig.node);
        }
        data += length;
        size -= length;
    }
    return 0;
}
