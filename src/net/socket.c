#include "net/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

void socket_set_no_delay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void socket_set_user_timeout(int fd, uint32_t timeout_ms)
{
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
}

void socket_set_unsent_low(int fd, uint32_t size_bytes)
{
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &size_bytes, sizeof size_bytes);
}

int socket_connect(const struct socket_address *to)
{
    int fd = socket(to->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    socket_set_no_delay(fd);
    if (connect(fd, (const struct sockaddr *)&to->storage, to->size) != 0 && errno != EINPROGRESS) {
        int number = errno;
        close(fd);
        errno = number;
        return -1;
    }
    return fd;
}

int socket_connect_result(int fd)
{
    int number = 0;
    socklen_t size = sizeof number;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &size) == 0 ? number : errno;
}
