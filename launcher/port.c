/* See port.h. Where the kernel decides: inet_csk_get_port and inet_csk_find_open_port in net/ipv4. */
#include "launcher/port.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* Bind the wanted port, or any when it is 0, of every address of the family; the port, or 0 with errno. */
static int bind_port(int socket, int family, int wanted) {
    struct sockaddr_in6 six = {
        .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)wanted), .sin6_addr = IN6ADDR_ANY_INIT};
    struct sockaddr_in four = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)wanted), .sin_addr.s_addr = htonl(INADDR_ANY)};
    bool is_six = family == AF_INET6;
    struct sockaddr *address = is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four;
    socklen_t n = is_six ? sizeof six : sizeof four;
    int on = 1, off = 0;
    if (setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) return 0;
    /* With IPv4 in the same socket, a port that is free in only one of the two is not taken. */
    if (is_six && setsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0) return 0;
    if (bind(socket, address, n) != 0 || getsockname(socket, address, &n) != 0) return 0;
    return ntohs(is_six ? six.sin6_port : four.sin_port);
}

td_status launcher_port_reserve(int wanted, int *port, int *made) {
    int error = 0;
    static const int families[] = {AF_INET6, AF_INET}; /* IPv6 may be switched off */
    for (int i = 0; i < 2; i++) {
        int s = socket(families[i], SOCK_STREAM | SOCK_CLOEXEC, 0);
        int found = s >= 0 ? bind_port(s, families[i], wanted) : 0;
        if (found > 0) {
            *port = found;
            *made = s;
            return TD_OK;
        }
        error = errno;
        if (s >= 0) close(s);
    }
    if (wanted) return td_fail_errno(error, "launcher", "--master-port %d", wanted);
    return td_fail_errno(error, "launcher", "cannot reserve a port for MASTER_PORT");
}
