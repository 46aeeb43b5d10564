#include "script/st_inline.h"

#include "wire/writer.h"

bool st_inline_is_array(struct bytes value)
{
    struct reader r = reader_of(value);
    return reader_peek(&r) == WIRE_ARRAY;
}

bool st_inline_is_table(struct bytes value)
{
    struct reader r = reader_of(value);
    enum wire_type type = reader_peek(&r);
    return type == WIRE_ARRAY || type == WIRE_MAP;
}

struct st_elements st_elements_of(struct bytes table)
{
    struct st_elements e = {.reader = reader_of(table), .array = st_inline_is_array(table)};
    e.left = e.array ? read_array(&e.reader) : read_map(&e.reader);
    return e;
}

bool st_elements_next(struct st_elements *e, struct value_key *key, struct bytes *value)
{
    if (e->left == 0) {
        return false;
    }
    e->left--;
    if (e->array) {
        *key = (struct value_key){.kind = VALUE_KEY_INTEGER, .integer = ++e->index};
    } else if (!value_key_read(&e->reader, key)) {
        return false;
    }
    *value = read_raw(&e->reader);
    return e->reader.err == ERR_OK;
}

bool st_inline_get(struct bytes table, const struct value_key *key, struct bytes *value)
{
    struct st_elements e = st_elements_of(table);
    struct value_key found;
    while (st_elements_next(&e, &found, value)) {
        int order = value_key_compare(&found, key);
        if (order >= 0) {
            return order == 0;
        }
    }
    return false;
}

/* The elements of a table as they are after one change. */
struct changed {
    struct st_elements elements;
    const struct value_key *key;
    struct bytes value;
    bool passed; /* the change has been merged in */
    bool waiting;
    struct value_key next_key;
    struct bytes next_value;
};

static bool changed_next(struct changed *c, struct value_key *key, struct bytes *value)
{
    for (;;) {
        if (!c->waiting) {
            c->waiting = st_elements_next(&c->elements, &c->next_key, &c->next_value);
        }
        int order = 1;
        if (!c->passed) {
            order = c->waiting ? value_key_compare(c->key, &c->next_key) : -1;
        }
        if (order <= 0) {
            c->passed = true;
            c->waiting = c->waiting && order != 0;
            if (c->value.size == 0) {
                continue;
            }
            *key = *c->key;
            *value = c->value;
            return true;
        }
        if (!c->waiting) {
            return false;
        }
        c->waiting = false;
        *key = c->next_key;
        *value = c->next_value;
        return true;
    }
}

void st_inline_put(struct bytes table, const struct value_key *key, struct bytes value,
                   struct buffer *out)
{
    const struct changed start = {.elements = st_elements_of(table), .key = key, .value = value};
    struct value_key each_key;
    struct bytes each_value;

    struct changed c = start;
    uint32_t count = 0;
    bool sequence = true;
    while (changed_next(&c, &each_key, &each_value)) {
        count++;
        sequence =
            sequence && each_key.kind == VALUE_KEY_INTEGER && each_key.integer == (int64_t)count;
    }
    bool array = sequence && count > 0;
    if (array) {
        write_array(out, count);
    } else {
        write_map(out, count);
    }
    c = start;
    while (changed_next(&c, &each_key, &each_value)) {
        if (!array) {
            value_key_write(out, &each_key);
        }
        write_raw(out, each_value);
    }
}
