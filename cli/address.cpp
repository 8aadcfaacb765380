#include "cli/address.hpp"

#include <minions/base/fd.hpp>
#include <minions/base/unix_address.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <sys/socket.h>

#include <charconv>

namespace minions::cli {
namespace {

constexpr const char* default_socket = "/run/minions/minions.sock";
constexpr std::uint16_t default_port = 3000;

bool listens(const char* path) {
    const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return fd && UnixAddress(path).connect(fd.get()) == 0;
}

[[noreturn]] void refuse(const std::string& text) {
    throw Error(Code::invalid, fmt::format("'{}' is not an address of a daemon", text),
                "use http://HOST:PORT or unix:/PATH");
}

http::Endpoint parse_host_port(const std::string& text, std::string_view rest) {
    if (rest.ends_with('/')) rest.remove_suffix(1);
    const auto host_end = rest.starts_with('[') ? rest.find(']') + 1 : std::min(rest.find(':'), rest.size());
    if (host_end == 0) refuse(text);  // a bracket that is not closed
    auto host = rest.substr(0, host_end);
    if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
    auto port_text = rest.substr(host_end);
    auto port = default_port;
    if (!port_text.empty()) {
        if (port_text[0] != ':') refuse(text);
        port_text.remove_prefix(1);
        const auto [end, error] =
            std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
        if (error != std::errc() || end != port_text.data() + port_text.size() || port == 0) refuse(text);
    }
    if (host.empty() || host.find_first_of("/@ ?#") != std::string_view::npos) refuse(text);
    return http::Endpoint::tcp(std::string(host), port);
}

}  // namespace

http::Endpoint parse_address(const std::string& text) {
    const std::string_view view = text;
    if (view.starts_with("https://")) {
        throw Error(Code::invalid, "the daemon does not speak https itself",
                    "use http:// inside a private network or through a tunnel");
    }
    for (const std::string_view scheme : {"unix://", "unix:", ""}) {
        if (!view.starts_with(scheme) || !view.substr(scheme.size()).starts_with('/')) continue;
        return http::Endpoint::unix_socket(std::string(view.substr(scheme.size())));
    }
    return parse_host_port(text, view.starts_with("http://") ? view.substr(7) : view);
}

http::Endpoint local_address() {
    if (listens(default_socket)) return http::Endpoint::unix_socket(default_socket);
    return http::Endpoint::tcp("127.0.0.1", default_port);
}

}  // namespace minions::cli
