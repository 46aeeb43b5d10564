/* moonkeeper log: what a data directory holds, and whether it is sound. It only reads, without a
 * lock, so a node may be running there. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/table.h"
#include "net/posix_fs.h"
#include "store/inspect.h"
#include "wire/entry.h"
#include "wire/writer.h"

struct range {
    uint64_t from, to;
};

struct survey {
    struct cli *cli;
    struct inspection *inspection;
    const struct inspected *found;
    long pid; /* of the node that runs there; 0: none */
    struct range range;
    bool verify;

    uint32_t snapshots_count;
    uint32_t damaged_count;  /* the log, and snapshots */
    struct buffer snapshots; /* MessagePack maps */
    struct buffer entries;   /* likewise */
    uint64_t entries_count;
    struct table *table;
    char first_damage[sizeof((struct why *)0)->text];
};

/* ---- who is at work there ------------------------------------------------------------------- */

/* The kernel's list of locks tells it without taking one: a lock taken, if only for a moment, could
 * keep a node from starting. proc(5): "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF". */
static long process_at_work(const char *directory)
{
    char path[4096], line[256];
    struct stat lock;
    long found = 0;
    int size = snprintf(path, sizeof path, "%s/lock", directory);
    FILE *locks;
    if (size < 0 || (size_t)size >= sizeof path || stat(path, &lock) != 0 ||
        (locks = fopen("/proc/locks", "re")) == NULL) {
        return 0;
    }
    while (found == 0 && fgets(line, sizeof line, locks) != NULL) {
        long pid;
        unsigned device_major, device_minor;
        unsigned long long inode;
        if (sscanf(line, "%*d: FLOCK %*s WRITE %ld %x:%x:%llu", &pid, &device_major, &device_minor,
                   &inode) == 4 &&
            inode == lock.st_ino && device_major == major(lock.st_dev) &&
            device_minor == minor(lock.st_dev)) {
            found = pid;
        }
    }
    fclose(locks);
    return found;
}

/* ---- what it says of itself ----------------------------------------------------------------- */

static void note_damage(struct survey *s, const char *why)
{
    if (s->damaged_count++ == 0) {
        snprintf(s->first_damage, sizeof s->first_damage, "%s", why);
    }
}

static const char *verdict(const struct survey *s)
{
    return s->damaged_count > 0 ? "damaged" : s->found->torn ? "torn" : "sound";
}

static const char *shown_kind(enum entry_kind kind)
{
    return kind == ENTRY_KIND_COUNT ? "unreadable" : entry_kind_name(kind);
}

static void put_text_or_nil(struct buffer *out, const char *key, const char *value)
{
    write_text(out, key);
    if (value != NULL) {
        write_text(out, value);
    } else {
        write_nil(out);
    }
}

/* ---- snapshots ------------------------------------------------------------------------------ */

static void take_snapshot(void *ctx, const struct inspected_snapshot *snapshot)
{
    struct survey *s = ctx;
    bool damaged = snapshot->damage != ERR_OK;
    s->snapshots_count++;
    if (damaged) {
        note_damage(s, snapshot->why.text);
    }
    struct buffer *out = &s->snapshots;
    write_map(out, 6);
    write_text_field(out, "file", snapshot->file);
    write_u64_field(out, "index", snapshot->known.last.index);
    write_u64_field(out, "term", snapshot->known.last.term);
    write_u64_field(out, "bytes", snapshot->known.bytes);
    write_u64_field(out, "pairs", snapshot->known.pairs);
    put_text_or_nil(out, "damage", damaged ? snapshot->why.text : NULL);
    if (s->cli->output == OUTPUT_TABLE && damaged) {
        printf("snapshot  %s: damaged\n", snapshot->file);
    } else if (s->cli->output == OUTPUT_TABLE) {
        printf("snapshot  %s: up to entry %" PRIu64 " of term %" PRIu64 ", %" PRIu64
               " keys, %" PRIu64 " bytes%s\n",
               snapshot->file, snapshot->known.last.index, snapshot->known.last.term,
               snapshot->known.pairs, snapshot->known.bytes, s->verify ? ", all of it sound" : "");
    }
}

/* ---- entries -------------------------------------------------------------------------------- */

static void take_entry(void *ctx, const struct inspected_entry *given)
{
    struct survey *s = ctx;
    struct entry e = {.kind = ENTRY_KIND_COUNT};
    char machine[ENTRY_MACHINE_NAME_MAX + 1] = "";
    if (entry_decode(given->body, &e) != ERR_OK) {
        e = (struct entry){.kind = ENTRY_KIND_COUNT};
    }
    snprintf(machine, sizeof machine, "%.*s", (int)e.machine.size, (const char *)e.machine.data);
    s->entries_count++;
    if (s->cli->output == OUTPUT_JSON) {
        struct buffer *out = &s->entries;
        write_map(out, 8);
        write_u64_field(out, "index", given->index);
        write_u64_field(out, "term", given->term);
        write_text_field(out, "kind", shown_kind(e.kind));
        put_text_or_nil(out, "machine", machine[0] != 0 ? machine : NULL);
        write_u64_field(out, "bytes", given->body.size);
        write_u64_field(out, "time_ms", (uint64_t)e.time_ms);
        write_text_field(out, "file", given->file);
        write_u64_field(out, "offset", given->offset);
        return;
    }
    char time_text[32];
    time_t seconds = (time_t)(e.time_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    table_cell(s->table, TABLE_PLAIN, "%" PRIu64, given->index);
    table_cell(s->table, TABLE_PLAIN, "%" PRIu64, given->term);
    table_cell(s->table, e.kind == ENTRY_KIND_COUNT ? TABLE_BAD : TABLE_PLAIN, "%s",
               shown_kind(e.kind));
    table_cell(s->table, TABLE_PLAIN, "%s", machine);
    table_cell(s->table, TABLE_PLAIN, "%zu", given->body.size);
    table_cell(s->table, TABLE_PLAIN, "%s", e.time_ms > 0 ? time_text : "-");
    table_cell(s->table, TABLE_DIM, "%s", given->file);
    table_cell(s->table, TABLE_DIM, "%" PRIu64, given->offset);
}

static enum err list_entries(struct survey *s, struct why *why)
{
    s->table = table_new(">INDEX|>TERM|KIND|MACHINE|>BYTES|TIME|FILE|>OFFSET", s->cli->colour);
    enum err err =
        inspect_entries(s->inspection, s->range.from, s->range.to + 1, take_entry, s, why);
    if (s->cli->output == OUTPUT_TABLE && s->entries_count > 0) {
        printf("\n");
        table_print(s->table, stdout);
    }
    table_free(s->table);
    return err;
}

/* ---- printing ------------------------------------------------------------------------------- */

static void print_segments(const struct survey *s)
{
    struct table *t = table_new("SEGMENT|>FIRST|>LAST|>ENTRIES|>BYTES USED|>OF", s->cli->colour);
    for (size_t i = 0; i < s->found->segments_count; i++) {
        struct inspected_segment segment;
        inspect_segment(s->inspection, i, &segment);
        table_cell(t, TABLE_PLAIN, "%s", segment.file);
        if (segment.count > 0) {
            table_cell(t, TABLE_PLAIN, "%" PRIu64, segment.first_index);
            table_cell(t, TABLE_PLAIN, "%" PRIu64, segment.first_index + segment.count - 1);
        } else {
            table_cell(t, TABLE_DIM, "-");
            table_cell(t, TABLE_DIM, "-");
        }
        table_cell(t, TABLE_PLAIN, "%" PRIu64, segment.count);
        table_cell(t, TABLE_PLAIN, "%" PRIu64, segment.end_bytes);
        table_cell(t, TABLE_PLAIN, "%" PRIu64, segment.file_bytes);
    }
    printf("\n");
    table_print(t, stdout);
    table_free(t);
}

static void print_head(const struct survey *s)
{
    const struct inspected *f = s->found;
    char uuid[UUID_TEXT_BYTES];
    uuid_format(f->identity.uuid, uuid);
    printf("node      %s of cluster %s, storage %s\n", f->identity.node_name,
           f->identity.cluster_name, uuid);
    if (s->pid > 0) {
        printf("in use    by process %ld: read without a lock, while it goes on writing\n", s->pid);
    }
    printf("term      %" PRIu64 ", ", f->term);
    if (f->vote == 0) {
        printf("voted for nobody\n");
    } else if (f->vote == f->identity.node_id) {
        printf("voted for itself\n");
    } else {
        printf("voted for the node with id %016" PRIx64 "\n", f->vote);
    }
    if (f->first <= f->last.index) {
        printf("log       entries %" PRIu64 " to %" PRIu64 "\n", f->first, f->last.index);
    } else {
        printf("log       no entries after %" PRIu64 "\n", f->last.index);
    }
}

static void print_verdict(const struct survey *s)
{
    const struct inspected *f = s->found;
    if (f->torn) {
        printf("torn      the last write, at byte %" PRIu64 " of %s: %s\n", f->torn_offset,
               f->torn_file,
               s->pid > 0 ? "or it is being written now"
                          : "nobody was told that it is durable; the next start cuts it off");
    }
    if (s->damaged_count == 0) {
        printf("sound     %s\n", s->verify ? "every checksum of log and snapshots was verified"
                                           : "the log; --verify reads the snapshots, too");
    }
}

static void write_segments(const struct survey *s, struct buffer *out)
{
    write_text(out, "segments");
    write_array(out, (uint32_t)s->found->segments_count);
    for (size_t i = 0; i < s->found->segments_count; i++) {
        struct inspected_segment segment;
        inspect_segment(s->inspection, i, &segment);
        write_map(out, 5);
        write_text_field(out, "file", segment.file);
        write_u64_field(out, "first_index", segment.first_index);
        write_u64_field(out, "entries", segment.count);
        write_u64_field(out, "used_bytes", segment.end_bytes);
        write_u64_field(out, "file_bytes", segment.file_bytes);
    }
}

static void write_place(struct buffer *out, const char *key, struct store_pos at)
{
    write_text(out, key);
    write_map(out, 2);
    write_u64_field(out, "index", at.index);
    write_u64_field(out, "term", at.term);
}

static void write_torn(const struct inspected *f, struct buffer *out)
{
    write_text(out, "torn");
    if (f->torn) {
        write_map(out, 2);
        write_text_field(out, "file", f->torn_file);
        write_u64_field(out, "offset", f->torn_offset);
    } else {
        write_nil(out);
    }
}

static int print_json(const struct survey *s)
{
    const struct inspected *f = s->found;
    struct buffer out = {0};
    char uuid[UUID_TEXT_BYTES], vote[17];
    uuid_format(f->identity.uuid, uuid);
    snprintf(vote, sizeof vote, "%016" PRIx64, f->vote);
    write_map(&out, s->verify ? 13 : 14);
    write_text_field(&out, "verdict", verdict(s));
    write_text_field(&out, "cluster", f->identity.cluster_name);
    write_text_field(&out, "node", f->identity.node_name);
    write_text_field(&out, "storage", uuid);
    write_text(&out, "process");
    if (s->pid > 0) {
        write_u64(&out, (uint64_t)s->pid);
    } else {
        write_nil(&out);
    }
    write_u64_field(&out, "term", f->term);
    put_text_or_nil(&out, "vote", f->vote != 0 ? vote : NULL);
    write_place(&out, "base", f->base);
    write_place(&out, "last", f->last);
    write_torn(f, &out);
    put_text_or_nil(&out, "damage", s->damaged_count > 0 ? s->first_damage : NULL);
    write_segments(s, &out);
    write_text(&out, "snapshots");
    write_array(&out, s->snapshots_count);
    buffer_add_bytes(&out, buffer_bytes(&s->snapshots));
    if (!s->verify) {
        write_text(&out, "entries");
        write_array(&out, (uint32_t)s->entries_count);
        buffer_add_bytes(&out, buffer_bytes(&s->entries));
    }
    int exit_code = client_print(s->cli, buffer_bytes(&out));
    buffer_close(&out);
    return exit_code;
}

/* ---- the verb ------------------------------------------------------------------------------- */

static int report(struct survey *s)
{
    struct why why = {""};
    bool table = s->cli->output == OUTPUT_TABLE;
    if (table) {
        print_head(s);
    }
    enum err err = inspect_snapshots(s->inspection, s->verify, take_snapshot, s, &why);
    if (table) {
        print_verdict(s);
        print_segments(s);
    }
    if (err == ERR_OK && !s->verify && s->cli->output != OUTPUT_SIMPLE) {
        err = list_entries(s, &why);
    }
    int exit_code = EXIT_OK;
    if (err != ERR_OK) {
        return cli_fail(s->cli, err, why.text, NULL);
    }
    if (s->cli->output == OUTPUT_JSON) {
        exit_code = print_json(s);
    } else if (s->cli->output == OUTPUT_SIMPLE) {
        printf("%s\n", verdict(s));
    }
    return s->damaged_count > 0 ? cli_fail(s->cli, ERR_CORRUPT, s->first_damage, NULL) : exit_code;
}

static int inspect(struct cli *cli, const char *directory, struct range range, bool verify)
{
    struct posix_fs *fs;
    struct why why = {""};
    enum err err = posix_fs_open_existing(directory, &fs, &why);
    if (err != ERR_OK) {
        return cli_fail(cli, err, why.text, "the data_dir of the node's configuration");
    }
    struct survey s = {.cli = cli, .range = range, .verify = verify};
    s.pid = process_at_work(directory);
    err = inspect_open(posix_fs_port(fs), s.pid > 0, &s.inspection, &why);
    int exit_code;
    if (err == ERR_OK) {
        s.found = inspect_found(s.inspection);
        if (s.found->damage != ERR_OK) {
            note_damage(&s, s.found->why.text);
        }
        exit_code = report(&s);
    } else {
        exit_code =
            cli_fail(cli, err, why.text,
                     err == ERR_NOT_FOUND ? "the data_dir of the node's configuration; under "
                                            "moonkeeper dev, DIR/n1"
                                          : NULL);
    }
    buffer_close(&s.snapshots);
    buffer_close(&s.entries);
    inspect_close(s.inspection);
    posix_fs_close(fs);
    return exit_code;
}

static bool parse_index(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == 0 && errno == 0 && *out < UINT64_MAX;
}

int cmd_log(struct cli *cli, int argc, char **argv)
{
    const char *from = NULL, *to = NULL;
    bool verify = false;
    const struct flag flags[] = {
        {"from", 0, "INDEX", "the first entry to list", &from, NULL},
        {"to", 0, "INDEX", "the last entry to list", &to, NULL},
        {"verify", 0, NULL, "read the snapshots too, and list no entries", NULL, &verify},
    };
    const struct usage usage = {
        .synopsis = "log DIR [--from INDEX] [--to INDEX] [--verify]",
        .about =
            "Show what the data directory of a node holds: its term and vote, the segments\n"
            "and entries of its log, its snapshots. Every checksum of the log is verified;\n"
            "with --verify those of the snapshots are, too. A torn last write is legal: it is\n"
            "what a crash leaves. Other damage is told with its file and place.\n\n"
            "Nothing is changed and no lock is taken: a node may be running there.\n\n"
            "Exit code: 0 sound or torn, 1 damaged or unreadable.",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
        .arguments_min = 1,
        .arguments_max = 1,
    };
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    struct range range = {.from = 0, .to = UINT64_MAX - 1};
    if (from != NULL && !parse_index(from, &range.from)) {
        return cli_misuse(cli, "--from is \"%s\"; it must be the index of an entry", from);
    }
    if (to != NULL && !parse_index(to, &range.to)) {
        return cli_misuse(cli, "--to is \"%s\"; it must be the index of an entry", to);
    }
    return inspect(cli, argv[0], range, verify);
}
