/* moonkeeper status: one table for all nodes. Each member is asked for itself; what only the leader
 * knows (lag, round trip, lease) comes from the leader. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/apps.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/table.h"
#include "cli/view.h"
#include "wire/membership.h"
#include "wire/writer.h"

enum { MEMBER_TIMEOUT_US = 1000000 };

/* A member, and its own status if it answered. */
struct row {
    char id[MEMBER_NAME_MAX + 1];
    char client[MEMBER_ADDRESS_MAX + 1];
    bool voter;
    bool answered;
    struct buffer status;
};

struct overview {
    struct row rows[RAFT_MEMBERS_MAX];
    uint32_t rows_count;
    const struct row *leader; /* the one that says so of itself in the highest term; or NULL */
    uint32_t answered;
};

/* ---- gathering ------------------------------------------------------------------------------ */

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct row *)a)->id, ((const struct row *)b)->id);
}

static bool says_it_leads(const struct row *row)
{
    char role[32];
    return row->answered &&
           strcmp(view_text(buffer_bytes(&row->status), "role", role, sizeof role), "leader") == 0;
}

static void ask_member(struct row *row, uint64_t timeout_us)
{
    struct why why;
    if (row->client[0] == 0) {
        return;
    }
    row->answered = client_ask(row->client, "status", bytes_of(NULL, 0), timeout_us, &row->status,
                               &why) == ERR_OK;
}

/* own: the status of the node that was asked first. */
static void gather(const struct cli *cli, struct bytes own, struct overview *o)
{
    char own_id[64];
    struct bytes members = view_get(own, "members");
    uint64_t timeout_us = cli->timeout_ms * 1000;
    view_text(own, "id", own_id, sizeof own_id);
    o->rows_count = view_count(members);
    o->rows_count = o->rows_count < RAFT_MEMBERS_MAX ? o->rows_count : RAFT_MEMBERS_MAX;
    for (uint32_t i = 0; i < o->rows_count; i++) {
        struct bytes m = view_at(members, i);
        struct row *row = &o->rows[i];
        view_text(m, "id", row->id, sizeof row->id);
        view_text(m, "client", row->client, sizeof row->client);
        row->voter = view_bool(m, "voter");
        if (strcmp(row->id, own_id) == 0) {
            row->answered = true;
            buffer_add_bytes(&row->status, own);
        } else {
            ask_member(row, timeout_us < MEMBER_TIMEOUT_US ? timeout_us : MEMBER_TIMEOUT_US);
        }
    }
    qsort(o->rows, o->rows_count, sizeof o->rows[0], by_id);
    for (uint32_t i = 0; i < o->rows_count; i++) {
        const struct row *row = &o->rows[i];
        o->answered += row->answered;
        if (says_it_leads(row) &&
            (o->leader == NULL || view_u64(buffer_bytes(&row->status), "term") >
                                      view_u64(buffer_bytes(&o->leader->status), "term"))) {
            o->leader = row;
        }
    }
}

/* What the leader knows of a member; empty if it is the leader itself, or there is none. */
static struct bytes leaders_view(const struct overview *o, const struct row *row)
{
    if (o->leader == NULL) {
        return bytes_of(NULL, 0);
    }
    struct bytes peers = view_get(buffer_bytes(&o->leader->status), "peers");
    for (uint32_t i = 0; i < view_count(peers); i++) {
        struct bytes peer = view_at(peers, i);
        char id[64];
        if (strcmp(view_text(peer, "id", id, sizeof id), row->id) == 0) {
            return peer;
        }
    }
    return bytes_of(NULL, 0);
}

/* ---- printing ------------------------------------------------------------------------------- */

static enum table_style style_of(const char *role)
{
    return strcmp(role, "leader") == 0     ? TABLE_GOOD
           : strcmp(role, "follower") == 0 ? TABLE_PLAIN
           : strcmp(role, "learner") == 0  ? TABLE_PLAIN
                                           : TABLE_WARN;
}

static void duration_cell(struct table *t, uint64_t ms)
{
    uint64_t s = ms / 1000;
    if (s < 60) {
        table_cell(t, TABLE_PLAIN, "%.1f s", (double)ms / 1e3);
    } else if (s < 3600) {
        table_cell(t, TABLE_PLAIN, "%" PRIu64 " m %02" PRIu64 " s", s / 60, s % 60);
    } else {
        table_cell(t, TABLE_PLAIN, "%" PRIu64 " h %02" PRIu64 " m", s / 3600, s / 60 % 60);
    }
}

static void round_trip_cell(struct table *t, struct bytes known, uint64_t us)
{
    if (view_is_nil(known)) {
        table_cell(t, TABLE_DIM, "-");
    } else {
        table_cell(t, TABLE_PLAIN, "%.2f ms", (double)us / 1e3);
    }
}

static void absent_row(struct table *t, const struct row *row)
{
    table_cell(t, TABLE_BAD, "%s", row->client[0] != 0 ? "no answer" : "not heard of");
    for (int i = 0; i < 6; i++) {
        table_cell(t, TABLE_DIM, "-");
    }
    table_cell(t, TABLE_PLAIN, "%s", row->client);
}

static void print_row(struct table *t, const struct overview *o, const struct row *row)
{
    table_cell(t, TABLE_PLAIN, "%s", row->id);
    if (!row->answered) {
        absent_row(t, row);
        return;
    }
    struct bytes s = buffer_bytes(&row->status), seen = leaders_view(o, row);
    char role[32];
    view_text(s, "role", role, sizeof role);
    table_cell(t, style_of(role), "%s", role);
    table_cell(t, TABLE_PLAIN, "%" PRIu64, view_u64(s, "term"));
    table_cell(t, TABLE_PLAIN, "%" PRIu64, view_u64(s, "commit_index"));
    if (seen.size > 0) {
        uint64_t lag = view_u64(seen, "lag");
        table_cell(t, lag > 1000 ? TABLE_WARN : TABLE_PLAIN, "%" PRIu64, lag);
        round_trip_cell(t, view_get(seen, "rtt_us"), view_u64(seen, "rtt_us"));
    } else {
        table_cell(t, TABLE_DIM, "-");
        table_cell(t, TABLE_DIM, "-");
    }
    if (row == o->leader) {
        table_cell(t, TABLE_PLAIN, "%" PRIu64 " ms", view_u64(s, "lease_remaining_ms"));
    } else {
        table_cell(t, TABLE_DIM, "-");
    }
    duration_cell(t, view_u64(s, "uptime_ms"));
    table_cell(t, TABLE_PLAIN, "%s", row->client);
}

static void print_disk(const struct cli *cli, struct bytes status)
{
    char id[64];
    if (view_bool(view_get(status, "disk"), "full")) {
        printf("%s%s: its disk is full: it takes no commands, and leaves leadership to nodes "
               "that have room. Make room there%s\n",
               cli->colour ? "\033[31m" : "", view_text(status, "id", id, sizeof id),
               cli->colour ? "\033[0m" : "");
    }
}

static void print_table(const struct cli *cli, struct bytes own, const struct overview *o)
{
    struct table *t = table_new(
        "NODE|ROLE|>TERM|>COMMIT|>LAG|>ROUND TRIP|>LEASE|>UP|CLIENT ADDRESS", cli->colour);
    for (uint32_t i = 0; i < o->rows_count; i++) {
        print_row(t, o, &o->rows[i]);
    }
    table_print(t, stdout);
    table_free(t);
    char cluster[64];
    printf("\ncluster %s: %" PRIu32 " of %" PRIu32 " nodes answer, a quorum is %" PRIu64 "%s\n",
           view_text(own, "cluster", cluster, sizeof cluster), o->answered, o->rows_count,
           view_u64(own, "quorum"), o->leader == NULL ? "; there is no leader" : "");
    for (uint32_t i = 0; i < o->rows_count; i++) {
        if (o->rows[i].answered) {
            print_disk(cli, buffer_bytes(&o->rows[i].status));
            apps_print_failed(cli, buffer_bytes(&o->rows[i].status));
        }
    }
}

static int print_json(const struct cli *cli, struct bytes own, const struct overview *o)
{
    struct buffer out = {0};
    char text[64];
    write_map(&out, 3);
    write_text(&out, "cluster");
    write_text(&out, view_text(own, "cluster", text, sizeof text));
    write_text(&out, "leader");
    if (o->leader != NULL) {
        write_text(&out, o->leader->id);
    } else {
        write_nil(&out);
    }
    write_text(&out, "nodes");
    write_array(&out, o->rows_count);
    for (uint32_t i = 0; i < o->rows_count; i++) {
        if (o->rows[i].answered) {
            write_raw(&out, buffer_bytes(&o->rows[i].status));
        } else {
            write_map(&out, 3);
            write_text(&out, "id");
            write_text(&out, o->rows[i].id);
            write_text(&out, "client");
            write_text(&out, o->rows[i].client);
            write_text(&out, "role");
            write_nil(&out);
        }
    }
    int exit_code = client_print(cli, buffer_bytes(&out));
    buffer_close(&out);
    return exit_code;
}

static void print_simple(const struct overview *o)
{
    for (uint32_t i = 0; i < o->rows_count; i++) {
        char role[32];
        const struct row *row = &o->rows[i];
        printf("%s %s\n", row->id,
               row->answered ? view_text(buffer_bytes(&row->status), "role", role, sizeof role)
                             : "unreachable");
    }
}

int cmd_status(struct cli *cli, int argc, char **argv)
{
    const struct usage usage = {
        .synopsis = "status",
        .about = "Show all nodes: role, term, log positions, lag, round trip and lease. Any node\n"
                 "can be asked; it names the others. Exits with 3 when there is no leader.",
    };
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    struct buffer own = {0};
    struct overview o = {.rows_count = 0};
    exit_code = client_request(cli, "status", bytes_of(NULL, 0), &own);
    if (exit_code == EXIT_OK) {
        gather(cli, buffer_bytes(&own), &o);
        if (cli->output == OUTPUT_TABLE) {
            print_table(cli, buffer_bytes(&own), &o);
        } else if (cli->output == OUTPUT_JSON) {
            exit_code = print_json(cli, buffer_bytes(&own), &o);
        } else {
            print_simple(&o);
        }
        if (exit_code == EXIT_OK && o.leader == NULL) {
            exit_code = EXIT_NO_LEADER;
        }
    }
    for (uint32_t i = 0; i < o.rows_count; i++) {
        buffer_close(&o.rows[i].status);
    }
    buffer_close(&own);
    return exit_code;
}
