#include "scenario/report.h"

#include <inttypes.h>
#include <string.h>

enum { NAME_COLUMN = 60, INDENT = 8 };

#define GREEN  "\033[32m"
#define RED    "\033[31m"
#define YELLOW "\033[33m"
#define DIM    "\033[2m"
#define PLAIN  "\033[0m"

static const char *paint(const struct report_style *style, const char *colour)
{
    return style->colour ? colour : "";
}

/* ---- parts that all formats share ------------------------------------------------------------ */

static void add_quoted(struct buffer *out, const char *word)
{
    buffer_add_u8(out, '\'');
    for (; *word != 0; word++) {
        if (*word == '\'') {
            buffer_add_format(out, "'\\''");
        } else {
            buffer_add_u8(out, (uint8_t)*word);
        }
    }
    buffer_add_u8(out, '\'');
}

void report_rerun(const struct suite_case *c, const struct report_style *style, struct buffer *out)
{
    buffer_add_format(out, "%s test %s --filter ", style->program, c->file->path);
    add_quoted(out, suite_case_of(c)->name);
    if (style->real) {
        buffer_add_format(out, " --real");
        if (style->patience > 0) {
            buffer_add_format(out, " --patience %" PRIu32, style->patience);
        }
    } else {
        buffer_add_format(out, " --seed %" PRIu64, c->seed);
    }
}

void report_message(const struct suite_case *c, struct buffer *out)
{
    if (c->result.where.size > 0) {
        buffer_add_bytes(out, buffer_bytes(&c->result.where));
        buffer_add_format(out, ": ");
    }
    buffer_add_bytes(out, buffer_bytes(&c->result.message));
}

/* Bytes of the UTF-8 character that text begins with, 0 if it begins with none. RFC 3629. */
static size_t utf8_size(struct bytes text)
{
    static const struct {
        uint8_t lo, hi, size, next_lo, next_hi; /* of the first byte; of the second */
    } rows[] = {
        {0x00, 0x7f, 1, 0, 0},       {0xc2, 0xdf, 2, 0x80, 0xbf}, {0xe0, 0xe0, 3, 0xa0, 0xbf},
        {0xe1, 0xec, 3, 0x80, 0xbf}, {0xed, 0xed, 3, 0x80, 0x9f}, {0xee, 0xef, 3, 0x80, 0xbf},
        {0xf0, 0xf0, 4, 0x90, 0xbf}, {0xf1, 0xf3, 4, 0x80, 0xbf}, {0xf4, 0xf4, 4, 0x80, 0x8f},
    };
    size_t row = 0;
    while (row < sizeof rows / sizeof rows[0] &&
           !(text.data[0] >= rows[row].lo && text.data[0] <= rows[row].hi)) {
        row++;
    }
    if (row == sizeof rows / sizeof rows[0] || rows[row].size > text.size) {
        return 0;
    }
    for (size_t i = 1; i < rows[row].size; i++) {
        uint8_t lo = i == 1 ? rows[row].next_lo : 0x80, hi = i == 1 ? rows[row].next_hi : 0xbf;
        if (text.data[i] < lo || text.data[i] > hi) {
            return 0;
        }
    }
    return rows[row].size;
}

/* Neither YAML nor XML can hold control characters or what is not UTF-8: question marks. */
static void add_plain(struct buffer *out, struct bytes text)
{
    while (text.size > 0) {
        size_t size = utf8_size(text);
        bool kept =
            size > 1 ||
            (size == 1 && (text.data[0] >= ' ' || text.data[0] == '\n' || text.data[0] == '\t'));
        size = size > 0 ? size : 1;
        if (kept) {
            buffer_add(out, text.data, size);
        } else {
            buffer_add_u8(out, '?');
        }
        text = bytes_of(text.data + size, text.size - size);
    }
}

/* Lines of Lua's traceback that are about the user's files. */
static bool is_of_interest(struct bytes line)
{
    static const char *const others[] = {"moonkeeper/", "[C]", "stack traceback", "...", "(..."};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        size_t size = strlen(others[i]);
        if (line.size >= size && memcmp(line.data, others[i], size) == 0) {
            return false;
        }
    }
    return line.size > 0;
}

/* Calls fn for each line of text. */
static void each_line(struct bytes text, void (*fn)(void *ctx, struct bytes line), void *ctx)
{
    while (text.size > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end != NULL ? (size_t)(end - text.data) : text.size;
        fn(ctx, bytes_of(text.data, size));
        size += end != NULL;
        text = bytes_of(text.data + size, text.size - size);
    }
}

struct trace_lines {
    struct buffer *out;
    uint32_t count;
};

static void add_trace_line(void *ctx, struct bytes line)
{
    struct trace_lines *t = ctx;
    while (line.size > 0 && (line.data[0] == '\t' || line.data[0] == ' ')) {
        line = bytes_of(line.data + 1, line.size - 1);
    }
    if (is_of_interest(line)) {
        t->count++;
        buffer_add_bytes(t->out, line);
        buffer_add_u8(t->out, '\n');
    }
}

void report_trace(const struct suite_case *c, struct buffer *out)
{
    struct buffer text = {0};
    struct trace_lines lines = {.out = &text};
    each_line(buffer_bytes(&c->result.trace), add_trace_line, &lines);
    if (lines.count > 1) {
        buffer_add_bytes(out, buffer_bytes(&text));
    }
    buffer_close(&text);
}

/* "3 of 100 seeds: 7, 19, 44" */
static void add_failed_seeds(const struct suite_case *c, struct buffer *out)
{
    buffer_add_format(out, "%" PRIu64 " of %" PRIu64 " seeds: ", c->failed, c->runs);
    for (uint64_t i = 0; i < c->failed && i < SUITE_FAILED_SEEDS; i++) {
        buffer_add_format(out, "%s%" PRIu64, i > 0 ? ", " : "", c->failed_seeds[i]);
    }
    if (c->failed > SUITE_FAILED_SEEDS) {
        buffer_add_format(out, ", ...");
    }
}

/* "100 seeds, 812 s simulated in 0.4 s" */
static void add_effort(const struct suite_case *c, bool real, struct buffer *out)
{
    if (real) {
        buffer_add_format(out, "%.1f s", (double)c->took_us / 1e6);
        return;
    }
    if (c->runs > 1) {
        buffer_add_format(out, "%" PRIu64 " seeds, ", c->runs);
    }
    buffer_add_format(out, "%.1f s simulated in %.2f s", (double)c->simulated_us / 1e6,
                      (double)c->took_us / 1e6);
}

/* ---- for people ------------------------------------------------------------------------------ */

struct indented {
    struct buffer *out;
    int indent;
};

static void add_indented_line(void *ctx, struct bytes line)
{
    const struct indented *i = ctx;
    buffer_add_format(i->out, "%*s", line.size > 0 ? i->indent : 0, "");
    buffer_add_bytes(i->out, line);
    buffer_add_u8(i->out, '\n');
}

static void add_indented(struct buffer *out, int indent, struct bytes text)
{
    struct indented i = {.out = out, .indent = indent};
    each_line(text, add_indented_line, &i);
}

/* Consumes text. */
static void add_block(struct buffer *out, const char *title, struct buffer *text)
{
    if (text->size > 0) {
        buffer_add_format(out, "%s%*s%s\n", title[0] != 0 ? "\n" : "", title[0] != 0 ? INDENT : 0,
                          "", title);
        add_indented(out, INDENT + (title[0] != 0 ? 2 : 0), buffer_bytes(text));
    }
    buffer_close(text);
}

static void add_failure(const struct suite_case *c, const struct report_style *style,
                        struct buffer *out)
{
    struct buffer text = {0}, timeline = {0}, log = {0};
    report_message(c, &text);
    buffer_add_u8(&text, '\n');
    add_indented(out, INDENT, buffer_bytes(&text));
    buffer_clear(&text);
    report_trace(c, &text);
    add_block(out, "called from", &text);
    buffer_add_bytes(&log, buffer_bytes(&c->result.log));
    add_block(out, "the test said", &log);
    buffer_add_bytes(&timeline, buffer_bytes(&c->result.timeline));
    add_block(out, "what happened last (s, node, what)", &timeline);
    buffer_add_format(out, "\n%*s", INDENT, "");
    if (c->runs > 1) {
        buffer_add_format(out, "it failed with ");
        add_failed_seeds(c, out);
        buffer_add_format(out, "; this is seed %" PRIu64 "\n%*s", c->seed, INDENT, "");
    } else if (!style->real) {
        buffer_add_format(out, "seed %" PRIu64 "\n%*s", c->seed, INDENT, "");
    }
    buffer_add_format(out, "run it again: ");
    report_rerun(c, style, out);
    buffer_add_format(out, "\n\n");
}

void report_case(const struct suite *s, const struct suite_case *c,
                 const struct report_style *style, struct buffer *out)
{
    if (c == s->cases || c[-1].file != c->file) {
        buffer_add_format(out, "%s\n", c->file->path);
    }
    const char *name = suite_case_of(c)->name;
    if (c->failed > 0) {
        buffer_add_format(out, "  %sFAIL%s  %s\n", paint(style, RED), paint(style, PLAIN), name);
        add_failure(c, style, out);
        return;
    }
    bool skipped = c->skipped > 0;
    buffer_add_format(out, "  %s%s%s  %-*s  %s", paint(style, skipped ? YELLOW : GREEN),
                      skipped ? "skip" : "ok  ", paint(style, PLAIN), NAME_COLUMN, name,
                      paint(style, DIM));
    if (skipped) {
        buffer_add_bytes(out, buffer_bytes(&c->result.message));
    } else {
        add_effort(c, style->real, out);
    }
    if (style->hashes) {
        buffer_add_format(out, ", trace hash %016" PRIx64, c->trace_hash);
    }
    buffer_add_format(out, "%s\n", paint(style, PLAIN));
}

struct counts {
    uint32_t passed, failed, skipped;
    uint64_t runs, simulated_us;
};

static struct counts count(const struct suite *s)
{
    struct counts n = {0};
    for (uint32_t i = 0; i < s->cases_count; i++) {
        const struct suite_case *c = &s->cases[i];
        n.failed += c->failed > 0;
        n.skipped += c->failed == 0 && c->skipped > 0;
        n.passed += c->failed == 0 && c->skipped == 0;
        n.runs += c->runs;
        n.simulated_us += c->simulated_us;
    }
    return n;
}

void report_summary(const struct suite *s, const struct report_style *style, struct buffer *out)
{
    struct counts n = count(s);
    buffer_add_format(out, "\n%s%u passed, %u failed", paint(style, n.failed > 0 ? RED : GREEN),
                      n.passed, n.failed);
    if (n.skipped > 0) {
        buffer_add_format(out, ", %u skipped", n.skipped);
    }
    buffer_add_format(out, "%s", paint(style, PLAIN));
    if (style->real) {
        buffer_add_format(out, "; %.1f s\n", (double)s->took_us / 1e6);
    } else {
        buffer_add_format(out, "; %" PRIu64 " runs, %.1f s simulated in %.1f s\n", n.runs,
                          (double)n.simulated_us / 1e6, (double)s->took_us / 1e6);
    }
}

/* ---- TAP ------------------------------------------------------------------------------------- */

void report_tap_plan(const struct suite *s, struct buffer *out)
{
    buffer_add_format(out, "TAP version 14\n1..%u\n", s->cases_count);
}

/* As a literal block. Its indentation is stated, for the first line may begin with spaces. Consumes
 * text. */
static void add_yaml(struct buffer *out, const char *key, struct buffer *text)
{
    if (text->size > 0) {
        struct buffer plain = {0};
        add_plain(&plain, buffer_bytes(text));
        buffer_add_format(out, "  %s: |2\n", key);
        add_indented(out, 4, buffer_bytes(&plain));
        buffer_close(&plain);
    }
    buffer_close(text);
}

/* A description must not hold what TAP reads as a directive. */
static void add_description(struct buffer *out, const struct suite_case *c)
{
    buffer_add_format(out, "%s: ", c->file->path);
    for (const char *at = suite_case_of(c)->name; *at != 0; at++) {
        if (*at == '#' || *at == '\\') {
            buffer_add_u8(out, '\\');
        }
        buffer_add_u8(out, *at == '\n' ? ' ' : (uint8_t)*at);
    }
}

void report_tap_case(const struct suite *s, const struct suite_case *c,
                     const struct report_style *style, struct buffer *out)
{
    buffer_add_format(out, "%s %u - ", c->failed > 0 ? "not ok" : "ok",
                      (unsigned)(c - s->cases) + 1);
    add_description(out, c);
    if (c->failed == 0) {
        if (c->skipped > 0) {
            buffer_add_format(out, " # SKIP ");
            buffer_add_bytes(out, buffer_bytes(&c->result.message));
        }
        buffer_add_u8(out, '\n');
        return;
    }
    struct buffer message = {0}, rerun = {0}, timeline = {0}, log = {0};
    report_message(c, &message);
    report_rerun(c, style, &rerun);
    buffer_add_bytes(&timeline, buffer_bytes(&c->result.timeline));
    buffer_add_bytes(&log, buffer_bytes(&c->result.log));
    buffer_add_format(out, "\n  ---\n");
    add_yaml(out, "message", &message);
    if (!style->real) {
        buffer_add_format(out, "  seed: %" PRIu64 "\n  failed: \"", c->seed);
        add_failed_seeds(c, out);
        buffer_add_format(out, "\"\n");
    }
    add_yaml(out, "rerun", &rerun);
    add_yaml(out, "log", &log);
    add_yaml(out, "timeline", &timeline);
    buffer_add_format(out, "  ...\n");
}

/* ---- JUnit ----------------------------------------------------------------------------------- */

static void add_xml(struct buffer *out, struct bytes text)
{
    struct buffer plain = {0};
    add_plain(&plain, text);
    for (size_t i = 0; i < plain.size; i++) {
        uint8_t c = plain.data[i];
        switch (c) {
        case '<':
            buffer_add_format(out, "&lt;");
            break;
        case '>':
            buffer_add_format(out, "&gt;");
            break;
        case '&':
            buffer_add_format(out, "&amp;");
            break;
        case '"':
            buffer_add_format(out, "&quot;");
            break;
        default:
            buffer_add_u8(out, c);
        }
    }
    buffer_close(&plain);
}

static void add_attribute(struct buffer *out, const char *name, const char *value)
{
    buffer_add_format(out, " %s=\"", name);
    add_xml(out, bytes_of_string(value));
    buffer_add_u8(out, '"');
}

static void add_junit_failure(const struct suite_case *c, const struct report_style *style,
                              struct buffer *out)
{
    struct buffer message = {0}, rerun = {0};
    report_message(c, &message);
    report_rerun(c, style, &rerun);
    buffer_add_format(out, "      <failure");
    const uint8_t *newline = memchr(message.data, '\n', message.size);
    struct bytes first =
        bytes_of(message.data, newline != NULL ? (size_t)(newline - message.data) : message.size);
    buffer_add_format(out, " message=\"");
    add_xml(out, first);
    buffer_add_format(out, "\">");
    add_xml(out, buffer_bytes(&message));
    buffer_add_format(out, "\n\nrun it again: ");
    add_xml(out, buffer_bytes(&rerun));
    buffer_add_format(out, "\n\n");
    add_xml(out, buffer_bytes(&c->result.log));
    add_xml(out, buffer_bytes(&c->result.timeline));
    buffer_add_format(out, "</failure>\n");
    buffer_close(&message);
    buffer_close(&rerun);
}

static void add_junit_case(const struct suite_case *c, const struct report_style *style,
                           struct buffer *out)
{
    buffer_add_format(out, "    <testcase");
    add_attribute(out, "name", suite_case_of(c)->name);
    add_attribute(out, "classname", c->file->path);
    add_attribute(out, "file", c->file->path);
    buffer_add_format(out, " line=\"%u\" time=\"%.3f\"", suite_case_of(c)->line,
                      (double)c->took_us / 1e6);
    if (c->failed == 0 && c->skipped == 0) {
        buffer_add_format(out, "/>\n");
        return;
    }
    buffer_add_format(out, ">\n");
    if (c->failed > 0) {
        add_junit_failure(c, style, out);
    } else {
        struct buffer reason = {0};
        buffer_add_bytes(&reason, buffer_bytes(&c->result.message));
        buffer_add_format(out, "      <skipped");
        add_attribute(out, "message", buffer_text(&reason));
        buffer_add_format(out, "/>\n");
        buffer_close(&reason);
    }
    buffer_add_format(out, "    </testcase>\n");
}

static void add_junit_file(const struct suite *s, const struct scenario_file *file,
                           const struct report_style *style, struct buffer *out)
{
    uint32_t tests = 0, failures = 0, skipped = 0;
    uint64_t took_us = 0;
    for (uint32_t i = 0; i < s->cases_count; i++) {
        const struct suite_case *c = &s->cases[i];
        if (c->file == file) {
            tests++;
            failures += c->failed > 0;
            skipped += c->failed == 0 && c->skipped > 0;
            took_us += c->took_us;
        }
    }
    buffer_add_format(out, "  <testsuite");
    add_attribute(out, "name", file->path);
    buffer_add_format(out, " tests=\"%u\" failures=\"%u\" skipped=\"%u\" time=\"%.3f\">\n", tests,
                      failures, skipped, (double)took_us / 1e6);
    for (uint32_t i = 0; i < s->cases_count; i++) {
        if (s->cases[i].file == file) {
            add_junit_case(&s->cases[i], style, out);
        }
    }
    buffer_add_format(out, "  </testsuite>\n");
}

void report_junit(const struct suite *s, const struct report_style *style, struct buffer *out)
{
    struct counts n = count(s);
    buffer_add_format(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    buffer_add_format(out,
                      "<testsuites name=\"moonkeeper test\" tests=\"%u\" failures=\"%u\" "
                      "skipped=\"%u\" time=\"%.3f\">\n",
                      s->cases_count, n.failed, n.skipped, (double)s->took_us / 1e6);
    for (uint32_t i = 0; i < s->files_count; i++) {
        add_junit_file(s, &s->files[i], style, out);
    }
    buffer_add_format(out, "</testsuites>\n");
}
