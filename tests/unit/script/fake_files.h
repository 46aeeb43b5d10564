/* A disk that is empty, and takes everything. */
#ifndef MK_TESTS_FAKE_FILES_H
#define MK_TESTS_FAKE_FILES_H

#include "host_fixture.h"

static inline void fake_files_read(void *ctx, uint64_t call, const char *path)
{
    (void)path;
    script_host_reply(((struct fixture *)ctx)->host, call, ERR_NOT_FOUND, NULL, (struct slice){0});
}
static inline void fake_files_write(void *ctx, uint64_t call, const char *path, struct bytes data)
{
    (void)path, (void)data;
    script_host_reply(((struct fixture *)ctx)->host, call, ERR_OK, NULL, (struct slice){0});
}

/* A port of the fixture. */
static inline struct files_port fake_files(struct fixture *f)
{
    return (struct files_port){.ctx = f, .read = fake_files_read, .write = fake_files_write};
}

#endif
