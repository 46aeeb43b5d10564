#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/nearest.h"
#include "calendar/civil.h"
#include "calendar/cron.h"

enum { FIELDS = 5, TEXT_MAX = 256 };
#define SPACE " \t\r\n"

struct field {
    const char *name;
    unsigned min, max;
    const char *const *names; /* of min, min + 1, ...; NULL at the end; NULL: only numbers */
};

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul",
                                          "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const weekday_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

enum { MINUTE, HOUR, DAY, MONTH, WEEKDAY };
static const struct field fields[FIELDS] = {
    [MINUTE] = {"minute", 0, 59, NULL},
    [HOUR] = {"hour", 0, 23, NULL},
    [DAY] = {"day of month", 1, 31, NULL},
    [MONTH] = {"month", 1, 12, month_names},
    [WEEKDAY] = {"day of week", 0, 7, weekday_names},
};

static const struct {
    const char *name, *text;
} nicknames[] = {
    {"@hourly", "0 * * * *"},   {"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
    {"@weekly", "0 0 * * 0"},   {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"},
    {"@annually", "0 0 1 1 *"},
};
enum { NICKNAMES = sizeof nicknames / sizeof nicknames[0] };

struct parse {
    const char *whole; /* for messages */
    const struct field *field;
    const char *at; /* in the field's own text */
    struct why *why;
};

/* "cron expression '61 * * * *': minute: ..." */
static enum err fail(const struct parse *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static enum err fail(const struct parse *p, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return err_why(p->why, ERR_INVALID, "cron expression '%s': %s: %s", p->whole, p->field->name,
                   text);
}

/* ---- one field ----------------------------------------------------------------------------------
 */

/* 0 where there are no digits; more than any field has where there are too many. */
static unsigned take_digits(struct parse *p)
{
    unsigned value = 0;
    for (; isdigit((unsigned char)*p->at); p->at++) {
        value = value < 100000 ? value * 10 + (unsigned)(*p->at - '0') : value;
    }
    return value;
}

static enum err parse_number(struct parse *p, unsigned *out)
{
    const char *begin = p->at;
    unsigned value = take_digits(p);
    if (value < p->field->min || value > p->field->max) {
        return fail(p, "%.*s is not in %u-%u", (int)(p->at - begin), begin, p->field->min,
                    p->field->max);
    }
    *out = value;
    return ERR_OK;
}

static enum err parse_name(struct parse *p, unsigned *out)
{
    size_t size = 0;
    while (isalpha((unsigned char)p->at[size])) {
        size++;
    }
    for (unsigned i = 0; p->field->names != NULL && p->field->names[i] != NULL; i++) {
        if (size == 3 && strncasecmp(p->at, p->field->names[i], size) == 0) {
            p->at += size;
            *out = p->field->min + i;
            return ERR_OK;
        }
    }
    if (p->field->names == NULL) {
        return fail(p, "'%.*s' is no number", (int)size, p->at);
    }
    return fail(p, "'%.*s' is not known; names are %s, %s, ...", (int)size, p->at,
                p->field->names[0], p->field->names[1]);
}

static enum err parse_value(struct parse *p, unsigned *out)
{
    if (isdigit((unsigned char)*p->at)) {
        return parse_number(p, out);
    }
    if (isalpha((unsigned char)*p->at)) {
        return parse_name(p, out);
    }
    if (*p->at == 0 || *p->at == ',') {
        return fail(p, "a value is missing");
    }
    return fail(p, "'%c' is not understood here", *p->at);
}

/* "/5"; 1 where there is none. */
static enum err parse_step(struct parse *p, unsigned *out)
{
    *out = 1;
    if (*p->at != '/') {
        return ERR_OK;
    }
    p->at++;
    const char *begin = p->at;
    unsigned value = take_digits(p);
    if (value == 0 || value > p->field->max) {
        return fail(p, "the step '%.*s' is not in 1-%u", (int)strcspn(begin, ","), begin,
                    p->field->max);
    }
    *out = value;
    return ERR_OK;
}

/* "*", "5", "1-5", "8-18/2" */
static enum err parse_item(struct parse *p, uint64_t *set)
{
    struct {
        unsigned from, to, step;
    } range = {p->field->min, p->field->max, 1};
    enum err e = ERR_OK;
    bool single = false;
    if (*p->at == '*') {
        p->at++;
    } else {
        e = parse_value(p, &range.from);
        range.to = range.from;
        single = *p->at != '-';
        if (e == ERR_OK && !single) {
            p->at++;
            e = parse_value(p, &range.to);
            if (p->field == &fields[WEEKDAY] && range.to == 0) {
                range.to = 7; /* "fri-sun" */
            }
        }
    }
    if (e == ERR_OK && single && *p->at == '/') {
        e = fail(p, "a step needs a range: %u-%u%s, or *%s", range.from, p->field->max, p->at,
                 p->at);
    }
    if (e == ERR_OK) {
        e = parse_step(p, &range.step);
    }
    if (e == ERR_OK && range.from > range.to) {
        e = fail(p, "the range %u-%u goes backwards", range.from, range.to);
    }
    for (unsigned i = range.from; e == ERR_OK && i <= range.to; i += range.step) {
        *set |= UINT64_C(1) << i;
    }
    return e;
}

static enum err parse_field(struct parse *p, uint64_t *set)
{
    *set = 0;
    for (;;) {
        enum err e = parse_item(p, set);
        if (e != ERR_OK || *p->at == 0) {
            return e;
        }
        if (*p->at != ',') {
            return fail(p, "'%c' is not understood here", *p->at);
        }
        p->at++;
    }
}

/* ---- all of them --------------------------------------------------------------------------------
 */

/* The five fields that "@daily" stands for; text itself where it does not begin with @. */
static enum err expand(const char **text, struct why *why)
{
    const char *whole = *text, *names[NICKNAMES];
    if (whole[0] != '@') {
        return ERR_OK;
    }
    for (size_t i = 0; i < NICKNAMES; i++) {
        names[i] = nicknames[i].name;
        if (strcasecmp(whole, names[i]) == 0) {
            *text = nicknames[i].text;
            return ERR_OK;
        }
    }
    if (strcasecmp(whole, "@reboot") == 0) {
        return err_why(why, ERR_INVALID,
                       "cron expression '%s': it names no time; what is to be done at the start of "
                       "a script stands in the script",
                       whole);
    }
    const char *nearest = nearest_name(whole, names, NICKNAMES);
    return err_why(why, ERR_INVALID, "cron expression '%s': not known; %s%s", whole,
                   nearest != NULL ? "did you mean "
                                   : "there are @hourly, @daily, @weekly, @monthly and @yearly",
                   nearest != NULL ? nearest : "");
}

/* Cut text into words, in place. Returns how many there are, also beyond FIELDS. */
static unsigned split(char *text, char *words[FIELDS])
{
    unsigned count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(text, SPACE, &rest); word != NULL;
         word = strtok_r(NULL, SPACE, &rest)) {
        if (count < FIELDS) {
            words[count] = word;
        }
        count++;
    }
    return count;
}

/* Does a day of the month in the set ever come? */
static bool comes(const struct cron *c)
{
    for (unsigned month = 1; month <= 12; month++) {
        uint32_t all = (uint32_t)((UINT64_C(1) << (civil_month_days(2000, month) + 1)) - 1);
        if ((c->months >> month & 1) != 0 && (c->days & all) != 0) {
            return true;
        }
    }
    return false;
}

static enum err parse_fields(struct parse *p, char *words[FIELDS], struct cron *out)
{
    uint64_t sets[FIELDS];
    for (unsigned i = 0; i < FIELDS; i++) {
        p->field = &fields[i];
        p->at = words[i];
        enum err e = parse_field(p, &sets[i]);
        if (e != ERR_OK) {
            return e;
        }
    }
    *out = (struct cron){
        .minutes = sets[MINUTE],
        .hours = (uint32_t)sets[HOUR],
        .days = (uint32_t)sets[DAY],
        .months = (uint32_t)sets[MONTH],
        .weekdays = (uint32_t)((sets[WEEKDAY] | sets[WEEKDAY] >> 7) & 0x7f),
        .either_day = words[DAY][0] != '*' && words[WEEKDAY][0] != '*',
    };
    if (!out->either_day && !comes(out)) {
        p->field = &fields[DAY];
        return fail(p, "'%s' never comes in month '%s'", words[DAY], words[MONTH]);
    }
    return ERR_OK;
}

/* A copy without white space around it; false if it is too long. */
static bool trim(const char *text, char out[TEXT_MAX])
{
    text += strspn(text, SPACE);
    size_t size = strlen(text);
    while (size > 0 && strchr(SPACE, text[size - 1]) != NULL) {
        size--;
    }
    if (size >= TEXT_MAX) {
        return false;
    }
    memcpy(out, text, size);
    out[size] = 0;
    return true;
}

enum err cron_parse(const char *text, struct cron *out, struct why *why)
{
    char whole[TEXT_MAX], copy[TEXT_MAX], *words[FIELDS];
    if (!trim(text, whole)) {
        return err_why(why, ERR_INVALID, "cron expression: longer than %d characters",
                       TEXT_MAX - 1);
    }
    const char *body = whole;
    enum err e = expand(&body, why);
    if (e != ERR_OK) {
        return e;
    }
    snprintf(copy, sizeof copy, "%s", body);
    unsigned count = split(copy, words);
    if (count != FIELDS) {
        return err_why(
            why, ERR_INVALID,
            "cron expression '%s': it has %u field%s, not 5: minute, hour, day of month, "
            "month, day of week%s",
            whole, count, count == 1 ? "" : "s",
            count == FIELDS + 1 ? " (there is none for seconds)" : "");
    }
    struct parse p = {.whole = whole, .why = why};
    return parse_fields(&p, words, out);
}
