#include "cli/apps.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/view.h"

void apps_print_failed(const struct cli *cli, struct bytes status)
{
    struct bytes apps = view_get(status, "apps");
    for (uint32_t i = 0; i < view_count(apps); i++) {
        char id[64], name[64], error[1024], reload_error[1024];
        struct bytes app = view_at(apps, i);
        view_text(app, "error", error, sizeof error);
        view_text(app, "reload_error", reload_error, sizeof reload_error);
        if (reload_error[0] != 0) {
            printf("%s%s: application \"%s\" was not reloaded, generation %" PRIu64
                   " goes on: %s%s\n",
                   cli->colour ? "\033[33m" : "", view_text(status, "id", id, sizeof id),
                   view_text(app, "app", name, sizeof name), view_u64(app, "generation"),
                   reload_error, cli->colour ? "\033[0m" : "");
        }
        if (error[0] != 0) {
            printf("%s%s: application \"%s\" failed: %s%s\n", cli->colour ? "\033[31m" : "",
                   view_text(status, "id", id, sizeof id), view_text(app, "app", name, sizeof name),
                   error, cli->colour ? "\033[0m" : "");
        }
    }
}
