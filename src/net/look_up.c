#include "net/look_up.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Written at once, so it comes whole or not at all. */
struct answer {
    enum err err;
    struct socket_address found;
    struct why why;
};
_Static_assert(sizeof(struct answer) <= PIPE_BUF, "an answer comes in one piece");

/* It has nothing of its parent but the pipe: no connection and no lock lives longer because of it.
 */
static _Noreturn void be_look_up(const struct address *a, look_up_fn *how, int pipe_fd,
                                 pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);
    }
    alarm(LOOK_UP_S);
    dup2(pipe_fd, STDIN_FILENO);
    close_range(STDIN_FILENO + 1, ~0u, 0);
    struct answer answer = {0};
    answer.err = how(a, &answer.found, &answer.why);
    _exit(write(STDIN_FILENO, &answer, sizeof answer) == (ssize_t)sizeof answer ? 0 : 1);
}

int look_up_start(const struct address *a, look_up_fn *how)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) {
        return -1;
    }
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        be_look_up(a, how, fds[1], parent);
    }
    int failed = errno;
    close(fds[1]);
    if (child < 0) {
        close(fds[0]);
        errno = failed;
        return -1;
    }
    return fds[0];
}

enum err look_up_take(int fd, struct socket_address *out, struct why *why)
{
    struct answer answer;
    if (read(fd, &answer, sizeof answer) != (ssize_t)sizeof answer) {
        return err_why(why, ERR_UNREACHABLE, "the look-up of its host's name was cut short");
    }
    *out = answer.found;
    if (answer.err != ERR_OK) {
        return err_why(why, answer.err, "%s", answer.why.text);
    }
    return ERR_OK;
}
