#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

void log_write_stderr(void *sink, const char *line, size_t size_bytes)
{
    (void)sink;
    ssize_t written = write(STDERR_FILENO, line, size_bytes);
    (void)written; /* There is nowhere left to report it. */
}

bool log_level_parse(const char *text, enum log_level *out)
{
    for (unsigned i = 0; i <= LOG_LEVEL_OFF; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_format_parse(const char *text, enum log_format *out)
{
    static const struct {
        const char *name;
        enum log_format format;
    } formats[] = {{"console", LOG_CONSOLE}, {"logfmt", LOG_LOGFMT}, {"json", LOG_JSON}};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (strcmp(text, formats[i].name) == 0) {
            *out = formats[i].format;
            return true;
        }
    }
    return false;
}

static void add_timestamp(struct buffer *line, int64_t wall_ms, bool date)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    if (date) {
        buffer_add_format(line, "%04d-%02d-%02dT", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday);
    }
    buffer_add_format(line, "%02d:%02d:%02d.%03d%s", utc.tm_hour, utc.tm_min, utc.tm_sec,
                      (int)(wall_ms % 1000), date ? "Z" : "");
}

static void add_escaped(struct buffer *line, const char *text)
{
    buffer_add_u8(line, '"');
    for (const char *c = text; *c != 0; c++) {
        if (*c == '"' || *c == '\\') {
            buffer_add_u8(line, '\\');
            buffer_add_u8(line, (uint8_t)*c);
        } else if (*c == '\n') {
            buffer_add(line, "\\n", 2);
        } else if (*c == '\t') {
            buffer_add(line, "\\t", 2);
        } else if ((unsigned char)*c < 0x20) {
            buffer_add_format(line, "\\u%04x", (unsigned)*c);
        } else {
            buffer_add_u8(line, (uint8_t)*c);
        }
    }
    buffer_add_u8(line, '"');
}

static bool is_bare(const char *text)
{
    if (*text == 0) {
        return false;
    }
    for (const char *c = text; *c != 0; c++) {
        if ((unsigned char)*c <= ' ' || *c == '"' || *c == '=' || *c == '\\' || *c == 0x7f) {
            return false;
        }
    }
    return true;
}

static void add_text(struct buffer *line, const char *text, bool quoted)
{
    if (quoted || !is_bare(text)) {
        add_escaped(line, text);
    } else {
        buffer_add(line, text, strlen(text));
    }
}

static void add_value(struct buffer *line, const struct log_field *field, bool json)
{
    switch (field->kind) {
    case LOG_FIELD_TEXT:
        add_text(line, field->text != NULL ? field->text : "", json);
        break;
    case LOG_FIELD_U64:
        buffer_add_format(line, "%" PRIu64, field->u64);
        break;
    case LOG_FIELD_I64:
        buffer_add_format(line, "%" PRId64, field->i64);
        break;
    case LOG_FIELD_F64:
        buffer_add_format(line, "%g", field->f64);
        break;
    case LOG_FIELD_BOOL:
        buffer_add_format(line, "%s", field->truth ? "true" : "false");
        break;
    }
}

/* Scripts name fields, too: whatever they are called, a line stays one that a parser takes. */
static void add_key(struct buffer *line, const char *key, bool json)
{
    if (json) {
        buffer_add_u8(line, ',');
        add_escaped(line, key);
        buffer_add_u8(line, ':');
        return;
    }
    buffer_add_u8(line, ' ');
    for (; *key != 0; key++) {
        buffer_add_u8(line, is_bare((const char[]){*key, 0}) ? (uint8_t)*key : '_');
    }
    buffer_add_u8(line, '=');
}

static void format_json(struct buffer *line, const struct log *log, enum log_level level,
                        const char *message)
{
    buffer_add_format(line, "{\"ts\":\"");
    add_timestamp(line, log->wall_ms(log->clock), true);
    buffer_add_format(line, "\",\"level\":\"%s\",\"msg\":", level_names[level]);
    add_escaped(line, message);
    if (log->node != NULL) {
        buffer_add_format(line, ",\"node\":");
        add_escaped(line, log->node);
    }
}

static void format_logfmt(struct buffer *line, const struct log *log, enum log_level level,
                          const char *message)
{
    buffer_add_format(line, "ts=");
    add_timestamp(line, log->wall_ms(log->clock), true);
    buffer_add_format(line, " level=%s msg=", level_names[level]);
    add_text(line, message, true);
    if (log->node != NULL) {
        buffer_add_format(line, " node=");
        add_text(line, log->node, false);
    }
}

static void format_console(struct buffer *line, const struct log *log, enum log_level level,
                           const char *message)
{
    static const char *const colours[] = {"\033[2m", "\033[32m", "\033[33m", "\033[31m", ""};
    bool colour = log->format == LOG_CONSOLE_COLOUR;
    add_timestamp(line, log->wall_ms(log->clock), false);
    buffer_add_format(line, " %s%-5s%s ", colour ? colours[level] : "", level_names[level],
                      colour ? "\033[0m" : "");
    if (log->node != NULL) {
        buffer_add_format(line, "%s ", log->node);
    }
    buffer_add(line, message, strlen(message));
}

void log_write(const struct log *log, enum log_level level, const char *message,
               const struct log_field *fields, size_t fields_count)
{
    struct buffer line = {0};
    bool json = log->format == LOG_JSON;
    if (json) {
        format_json(&line, log, level, message);
    } else if (log->format == LOG_LOGFMT) {
        format_logfmt(&line, log, level, message);
    } else {
        format_console(&line, log, level, message);
    }
    for (size_t i = 0; i < fields_count; i++) {
        add_key(&line, fields[i].key, json);
        add_value(&line, &fields[i], json);
    }
    buffer_add_format(&line, json ? "}\n" : "\n");
    log->write(log->sink, (const char *)line.data, line.size);
    buffer_close(&line);
}
