#include "transport.hpp"

#include "machine.hpp"

#include <minions/base/files.hpp>
#include <minions/base/unix_address.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <stdexcept>
#include <system_error>

namespace minions::agent {

namespace {

constexpr auto first_pause = std::chrono::milliseconds(20);
constexpr auto longest_pause = std::chrono::milliseconds(1000);

[[noreturn]] void fail(const std::string& what) {
    throw std::system_error(errno, std::generic_category(), what);
}

/// The device of the virtio-serial port that has our name; empty if there is none. By sysfs, since a guest
/// without udev has no /dev/virtio-ports.
std::string find_port() {
    constexpr const char* top = "/sys/class/virtio-ports";
    const std::unique_ptr<DIR, int (*)(DIR*)> list(::opendir(top), ::closedir);
    if (!list) return {};
    while (const dirent* entry = ::readdir(list.get())) {
        const std::string device = entry->d_name;
        try {
            const std::string name =
                read_file(std::string(top).append("/").append(device).append("/name"), 256);
            if (name.substr(0, name.find('\n')) == serial_port_name) return "/dev/" + device;
        } catch (const std::system_error&) {  // "." and "..", or a port without a name
        }
    }
    return {};
}

Fd connect_vsock(unsigned port) {
    sockaddr_vm address{};
    address.svm_family = AF_VSOCK;
    address.svm_cid = VMADDR_CID_HOST;
    address.svm_port = port;
    Fd socket(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket || ::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
        fail("cannot reach the host");
    return socket;
}

Fd connect_unix(const std::string& path) {
    const UnixAddress address(path);
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket || address.connect(socket.get()) != 0) fail("cannot reach " + path);
    return socket;
}

Fd open_port(const std::string& device) {
    Fd port(::open(device.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
    if (!port) fail("cannot open " + device);
    // Hung up: nobody has opened the host's side yet.
    pollfd state{port.get(), POLLIN | POLLOUT, 0};
    ::poll(&state, 1, 0);
    if ((state.revents & POLLHUP) != 0) {
        errno = ENOTCONN;
        fail("the host's side of " + device + " is closed");
    }
    return port;
}

}  // namespace

Address parse_address(const std::string& text) {
    const std::size_t colon = text.find(':');
    const std::string kind = text.substr(0, colon);
    const std::string rest = colon == std::string::npos ? "" : text.substr(colon + 1);
    if (kind == "auto" && rest.empty()) return {};
    if (kind == "serial") return {Address::Kind::serial, rest, vsock_port};
    if (kind == "unix" && !rest.empty()) return {Address::Kind::unix_socket, rest, vsock_port};
    if (kind == "vsock")
        return {Address::Kind::vsock, "",
                rest.empty() ? vsock_port : static_cast<unsigned>(std::stoul(rest))};
    throw std::invalid_argument("'" + text +
                                "' is no address: use auto, vsock[:PORT], serial[:DEVICE] or unix:PATH");
}

Dialler::Dialler(Loop& loop, Machine& machine, Address address)
    : loop_(loop), machine_(machine), address_(std::move(address)), pause_(first_pause) {}

Dialler::~Dialler() = default;

Dialler::Dialled Dialler::open() const {
    using Kind = Address::Kind;
    if (address_.kind == Kind::unix_socket) return {connect_unix(address_.path), Session::Transport::stream};
    if (address_.kind == Kind::vsock) return {connect_vsock(address_.port), Session::Transport::stream};
    // A host that gives the guest this port means it to be used: it does so where vsock cannot be had.
    const std::string device = address_.path.empty() ? find_port() : address_.path;
    if (address_.kind == Kind::automatic && device.empty())
        return {connect_vsock(address_.port), Session::Transport::stream};
    if (device.empty()) {
        errno = ENOENT;
        fail(std::string("there is no virtio-serial port ") + serial_port_name);
    }
    return {open_port(device), Session::Transport::bytes};
}

void Dialler::dial() {
    try {
        Dialled dialled = open();
        session_ = std::make_unique<Session>(loop_, machine_, std::move(dialled.fd), dialled.transport,
                                             [this](const std::string& reason) { lost(reason); });
        pause_ = first_pause;
        last_reason_.clear();
    } catch (const std::system_error& error) {
        if (last_reason_ != error.what()) std::fprintf(stderr, "minions-agent: %s\n", error.what());
        last_reason_ = error.what();
        again();
    }
}

void Dialler::lost(const std::string& reason) {
    std::fprintf(stderr, "minions-agent: the session with the host is over: %s\n", reason.c_str());
    machine_.thaw();
    loop_.post([this] {
        session_.reset();
        again();
    });
}

void Dialler::again() {
    loop_.after(pause_, [this] { dial(); });
    pause_ = std::min(pause_ * 2, longest_pause);
}

}  // namespace minions::agent
