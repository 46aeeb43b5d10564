/* moonkeeper members: who is in the cluster. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/table.h"
#include "cli/view.h"
#include "net/address.h"
#include "wire/writer.h"

static void print_table(const struct cli *cli, struct bytes members)
{
    struct table *t = table_new("ID|PEER ADDRESS|CLIENT ADDRESS|VOTES", cli->colour);
    for (uint32_t i = 0; i < view_count(members); i++) {
        struct bytes m = view_at(members, i);
        char id[64], peer[160], client[160];
        view_text(m, "client", client, sizeof client);
        table_cell(t, TABLE_PLAIN, "%s", view_text(m, "id", id, sizeof id));
        table_cell(t, TABLE_PLAIN, "%s", view_text(m, "peer", peer, sizeof peer));
        table_cell(t, client[0] != 0 ? TABLE_PLAIN : TABLE_DIM, "%s",
                   client[0] != 0 ? client : "not heard of");
        table_cell(t, TABLE_PLAIN, "%s", view_bool(m, "voter") ? "yes" : "learner");
    }
    table_print(t, stdout);
    table_free(t);
}

static int print(struct cli *cli, struct bytes members)
{
    if (cli->output == OUTPUT_TABLE) {
        print_table(cli, members);
    } else if (cli->output == OUTPUT_SIMPLE) {
        char id[64];
        for (uint32_t i = 0; i < view_count(members); i++) {
            puts(view_text(view_at(members, i), "id", id, sizeof id));
        }
    } else {
        return client_print(cli, members);
    }
    return EXIT_OK;
}

static const struct verb {
    const char *name;
    const char *method;
    int arguments;
    const char *takes;
} verbs[] = {
    {"list", "members", 0, "nothing"},
    {"add", "members_add", 2, "ID ADDRESS: the new node's name, and where its peers reach it"},
    {"promote", "members_promote", 1, "ID"},
    {"remove", "members_remove", 1, "ID"},
};

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

int cmd_members(struct cli *cli, int argc, char **argv)
{
    const struct usage usage = {
        .synopsis = "members [list | add ID ADDRESS | promote ID | remove ID]",
        .about = "The members of the cluster, as the node that is asked has them; or change them,\n"
                 "one at a time, and print them when that is committed.\n"
                 "\n"
                 "  add      ID becomes a learner: it receives the log and does not vote.\n"
                 "           Start it with the cluster's configuration, where its own line\n"
                 "           has joins = true.\n"
                 "  promote  The learner ID votes. Waits until it has caught up.\n"
                 "  remove   ID is no member any more and is refused from then on.",
        .arguments_max = 3,
    };
    int exit_code;
    int count = cli_parse(cli, argc, argv, &usage, &exit_code);
    if (count < 0) {
        return exit_code;
    }
    const struct verb *verb = find_verb(count == 0 ? "list" : argv[0]);
    if (verb == NULL) {
        return cli_misuse(cli, "members knows list, add, promote and remove, not \"%s\"", argv[0]);
    }
    if (count > 0 && count - 1 != verb->arguments) {
        return cli_misuse(cli, "members %s takes %s", verb->name, verb->takes);
    }
    struct address peer;
    struct why why = {""};
    if (verb->arguments == 2 && address_parse(argv[2], 0, &peer, &why) != ERR_OK) {
        return cli_misuse(cli, "members add: %s", why.text);
    }
    struct buffer params = {0}, result = {0};
    if (verb->arguments > 0) {
        write_array(&params, (uint32_t)count);
        for (int i = 1; i < count; i++) {
            write_text(&params, argv[i]);
        }
        write_u64(&params, cli->timeout_ms);
    }
    exit_code = client_request(cli, verb->method, buffer_bytes(&params), &result);
    if (exit_code == EXIT_OK) {
        exit_code = print(cli, buffer_bytes(&result));
    }
    buffer_close(&params);
    buffer_close(&result);
    return exit_code;
}
