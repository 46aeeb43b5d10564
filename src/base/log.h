/* Structured logging: a message and typed fields.
 *
 *   log_info(log, "leader elected", log_text("leader", name), log_u64("term", term));
 *
 * A struct log is a sink with a level, a format and a few fixed fields ("node"). It is a value that
 * others borrow; a NULL log is silent. Lines are written whole, so threads may share one sink.
 * Time comes from the sink's clock, so a simulated node logs simulated time. */
#ifndef MK_BASE_LOG_H
#define MK_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR, LOG_LEVEL_OFF };
enum log_format { LOG_CONSOLE, LOG_CONSOLE_COLOUR, LOG_LOGFMT, LOG_JSON };

struct log_field {
    const char *key;
    enum { LOG_FIELD_TEXT, LOG_FIELD_U64, LOG_FIELD_I64, LOG_FIELD_F64, LOG_FIELD_BOOL } kind;
    union {
        const char *text;
        uint64_t u64;
        int64_t i64;
        double f64;
        bool truth;
    };
};

static inline struct log_field log_text(const char *key, const char *value)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_TEXT, .text = value};
}
static inline struct log_field log_u64(const char *key, uint64_t value)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_U64, .u64 = value};
}
static inline struct log_field log_i64(const char *key, int64_t value)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_I64, .i64 = value};
}
static inline struct log_field log_f64(const char *key, double value)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_F64, .f64 = value};
}
static inline struct log_field log_bool(const char *key, bool value)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_BOOL, .truth = value};
}

struct log {
    enum log_level level;
    enum log_format format;
    /* Wall clock in ms since 1970, for the ts field. Must be callable from any thread. */
    int64_t (*wall_ms)(void *clock);
    void *clock;
    /* Takes one whole line with its newline. Must be callable from any thread. */
    void (*write)(void *sink, const char *line, size_t size_bytes);
    void *sink;
    /* Printed on every line as node=...; NULL for none. Borrowed. */
    const char *node;
};

/* Writes lines to stderr with one write(2) each. */
void log_write_stderr(void *sink, const char *line, size_t size_bytes);
/* Errors: false if there is no such level or format. */
bool log_level_parse(const char *text, enum log_level *out);
bool log_format_parse(const char *text, enum log_format *out);

void log_write(const struct log *log, enum log_level level, const char *message,
               const struct log_field *fields, size_t fields_count);

#define LOG_AT(log_, level_, message_, ...)                                        \
    do {                                                                           \
        const struct log *log_sink_ = (log_);                                      \
        if (log_sink_ != NULL && (level_) >= log_sink_->level) {                   \
            const struct log_field log_fields_[] = {{.key = NULL}, ##__VA_ARGS__}; \
            log_write(log_sink_, (level_), (message_), log_fields_ + 1,            \
                      sizeof log_fields_ / sizeof log_fields_[0] - 1);             \
        }                                                                          \
    } while (0)
#define log_debug(log_, ...) LOG_AT(log_, LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(log_, ...)  LOG_AT(log_, LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(log_, ...)  LOG_AT(log_, LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(log_, ...) LOG_AT(log_, LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
