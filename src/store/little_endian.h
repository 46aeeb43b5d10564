/* Numbers as they stand in files. Both return the place behind. */
#ifndef MK_STORE_LITTLE_ENDIAN_H
#define MK_STORE_LITTLE_ENDIAN_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint8_t *put_u32(uint8_t *to, uint32_t value)
{
    value = htole32(value);
    memcpy(to, &value, sizeof value);
    return to + sizeof value;
}

static inline const uint8_t *get_u32(const uint8_t *from, uint32_t *value)
{
    memcpy(value, from, sizeof *value);
    *value = le32toh(*value);
    return from + sizeof *value;
}

static inline uint8_t *put_u64(uint8_t *to, uint64_t value)
{
    value = htole64(value);
    memcpy(to, &value, sizeof value);
    return to + sizeof value;
}

static inline const uint8_t *get_u64(const uint8_t *from, uint64_t *value)
{
    memcpy(value, from, sizeof *value);
    *value = le64toh(*value);
    return from + sizeof *value;
}

#endif
