/* Files and results of scenarios. */
#include "scenario/scenario.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scenario/file.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum { FILE_MAX_BYTES = 4 << 20, CHUNK_BYTES = 1 << 16 };

enum err scenario_file_read(const char *path, struct buffer *text, struct why *why)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return err_why(why, err_from_errno(errno), "%s: %s", path, strerror(errno));
    }
    size_t got;
    do {
        got = fread(buffer_reserve(text, CHUNK_BYTES), 1, CHUNK_BYTES, file);
        text->size += got;
    } while (got > 0 && text->size <= FILE_MAX_BYTES);
    enum err err = ERR_OK;
    if (ferror(file)) {
        err = err_why(why, ERR_IO, "%s: %s", path, strerror(errno));
    } else if (text->size > FILE_MAX_BYTES) {
        err = err_why(why, ERR_TOO_LARGE, "%s: more than %d MB", path, FILE_MAX_BYTES >> 20);
    }
    fclose(file);
    return err;
}

void scenario_file_close(struct scenario_file *file)
{
    for (uint32_t i = 0; i < file->count; i++) {
        free(file->cases[i].name);
    }
    free(file->cases);
    free(file->path);
    buffer_close(&file->text);
    *file = (struct scenario_file){0};
}

void scenario_result_close(struct scenario_result *r)
{
    buffer_close(&r->message);
    buffer_close(&r->where);
    buffer_close(&r->trace);
    buffer_close(&r->timeline);
    buffer_close(&r->log);
    *r = (struct scenario_result){0};
}

void scenario_result_encode(const struct scenario_result *r, struct buffer *out)
{
    write_array(out, 8);
    write_u64(out, (uint64_t)r->outcome);
    write_u64(out, r->simulated_us);
    write_u64(out, r->trace_hash);
    write_bin(out, buffer_bytes(&r->message));
    write_bin(out, buffer_bytes(&r->where));
    write_bin(out, buffer_bytes(&r->trace));
    write_bin(out, buffer_bytes(&r->timeline));
    write_bin(out, buffer_bytes(&r->log));
}

enum err scenario_result_decode(struct bytes data, struct scenario_result *out)
{
    *out = (struct scenario_result){0};
    struct reader r = reader_of(data);
    read_array_of(&r, 8);
    out->outcome = (enum scenario_outcome)read_u32_max(&r, SCENARIO_SKIPPED);
    out->simulated_us = read_u64(&r);
    out->trace_hash = read_u64(&r);
    struct buffer *texts[] = {&out->message, &out->where, &out->trace, &out->timeline, &out->log};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        buffer_add_bytes(texts[i], read_bin(&r, data.size));
    }
    enum err err = reader_end(&r);
    if (err != ERR_OK) {
        scenario_result_close(out);
    }
    return err;
}
