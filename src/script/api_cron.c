/* moonkeeper.core: cron expressions. A schedule is a userdata; its time zone is another, which all
 * schedules of that zone share. */
#include <lauxlib.h>
#include <string.h>

#include "calendar/cron.h"
#include "script/api.h"
#include "script/host.h"
#include "script/report.h"
#include "script/thread.h"

#define SCHEDULE_TYPE "moonkeeper.schedule"

/* Registry key: the zones that were read, by name. */
static const char zones_key;

struct schedule {
    struct cron cron;
    const struct time_zone *zone; /* in the userdata that is its first user value */
};
enum { SCHEDULE_UV_ZONE = 1, SCHEDULE_UV_SPEC, SCHEDULE_UV_COUNT = 2 };

static enum err read_zone(lua_State *L, const char *name, struct why *why)
{
    const struct zones_port *port = thread_app(L)->host->options.zones;
    if (strcmp(name, "UTC") == 0) {
        time_zone_utc(lua_newuserdatauv(L, sizeof(struct time_zone), 0));
        return ERR_OK;
    }
    if (port == NULL) {
        return err_why(why, ERR_NOT_FOUND, "time zone '%s': only UTC is there", name);
    }
    void *file = lua_newuserdatauv(L, TIME_ZONE_FILE_MAX, 0);
    size_t size;
    enum err e = port->read(port->ctx, name, file, TIME_ZONE_FILE_MAX, &size, why);
    if (e == ERR_OK) {
        struct bytes bytes = bytes_of(file, size);
        e = time_zone_read(name, bytes, lua_newuserdatauv(L, time_zone_size(bytes), 0), why);
    }
    return e;
}

/* The zone, as a userdata. Stack: [-0, +1], whatever it returns. */
static enum err push_zone(lua_State *L, const char *name, struct why *why)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &zones_key);
    int zones = lua_gettop(L);
    if (lua_getfield(L, zones, name) == LUA_TUSERDATA) {
        lua_replace(L, zones);
        return ERR_OK;
    }
    enum err e = read_zone(L, name, why);
    if (e == ERR_OK) {
        lua_pushvalue(L, -1);
        lua_setfield(L, zones, name);
    }
    lua_replace(L, zones);
    lua_settop(L, zones);
    return e;
}

/* schedule(spec, zone) -> Schedule | nil, err */
static int core_schedule(lua_State *L)
{
    if (lua_type(L, 1) != LUA_TSTRING) {
        return report_misuse(L, "a cron expression is a string, such as \"30 2 * * *\"");
    }
    const char *spec = lua_tostring(L, 1);
    const char *name = luaL_checkstring(L, 2);
    struct schedule *schedule = lua_newuserdatauv(L, sizeof *schedule, SCHEDULE_UV_COUNT);
    luaL_setmetatable(L, SCHEDULE_TYPE);
    struct why why = {0};
    enum err e = cron_parse(spec, &schedule->cron, &why);
    if (e != ERR_OK) {
        return report_fail(L, e, why.text);
    }
    e = push_zone(L, name, &why);
    if (e != ERR_OK) {
        return report_fail(L, e, why.text);
    }
    schedule->zone = lua_touserdata(L, -1);
    lua_setiuservalue(L, 3, SCHEDULE_UV_ZONE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 3, SCHEDULE_UV_SPEC);
    return 1;
}

/* Schedule:next(after_wall_ms?) -> wall_ms | nil, err */
static int schedule_next(lua_State *L)
{
    const struct schedule *schedule = luaL_checkudata(L, 1, SCHEDULE_TYPE);
    lua_Integer after_ms = clock_wall_ms(thread_app(L)->host->options.clock);
    int is_integer = 1;
    if (!lua_isnoneornil(L, 2)) {
        after_ms = lua_tointegerx(L, 2, &is_integer);
    }
    if (!is_integer || after_ms < CRON_TIME_MIN_MS || after_ms > CRON_TIME_MAX_MS) {
        return report_misuse(L,
                             "next(after_ms): an integer, ms since 1970, in the years 0 to 9999");
    }
    int64_t next_ms;
    if (!cron_next(&schedule->cron, schedule->zone, after_ms, &next_ms)) {
        return report_fail(L, ERR_NOT_FOUND, "it is not due before the year 10000");
    }
    lua_pushinteger(L, (lua_Integer)next_ms);
    return 1;
}

static int schedule_tostring(lua_State *L)
{
    luaL_checkudata(L, 1, SCHEDULE_TYPE);
    lua_getiuservalue(L, 1, SCHEDULE_UV_SPEC);
    return 1;
}

void api_cron_prepare(lua_State *L)
{
    static const luaL_Reg methods[] = {{"next", schedule_next}, {NULL, NULL}};
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &zones_key);
    luaL_newmetatable(L, SCHEDULE_TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, schedule_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "schedule");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void api_cron_add(lua_State *L)
{
    lua_pushcfunction(L, core_schedule);
    lua_setfield(L, -2, "schedule");
}
