#include <minions/base/deadline.hpp>
#include <minions/base/frame.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <system_error>

namespace minions {
namespace {

constexpr std::size_t header_size = 4;

/// What to do after a failed call on `socket`: returns if it is to be repeated.
void recover(int socket, short events, const char* what) {
    if (errno == EINTR) return;
    if (errno != EAGAIN) throw std::system_error(errno, std::generic_category(), what);
    pollfd entry{socket, events, 0};
    poll_until(&entry, 1, no_deadline);
}

void advance(msghdr& message, std::size_t done) {
    while (done > 0) {
        iovec& part = message.msg_iov[0];
        if (done < part.iov_len) {
            part.iov_base = static_cast<char*>(part.iov_base) + done;
            part.iov_len -= done;
            return;
        }
        done -= part.iov_len;
        ++message.msg_iov;
        --message.msg_iovlen;
    }
}

void take_descriptors(const msghdr& message, std::vector<Fd>& fds) {
    for (const cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
         part = CMSG_NXTHDR(const_cast<msghdr*>(&message), const_cast<cmsghdr*>(part))) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            fds.emplace_back(fd);
        }
    }
}

/// What the kernel could not deliver of a message's descriptors: more than 8 are against the rules; fewer
/// mean that this process is at its limit of open files.
void judge_truncation(Frame* into) {
    if (into == nullptr) throw std::runtime_error("a frame brings descriptors in its middle");
    if (into->fds.size() >= most_frame_fds)
        throw std::runtime_error("a frame brings more than 8 descriptors");
    into->fds_lost = true;
    into->fds.clear();
}

/// One recvmsg(). Descriptors come with the first byte of what they were sent with, so anywhere but at a
/// frame's first byte (where `into` is null) they are refused.
std::size_t receive(int socket, char* data, std::size_t size, Frame* into) {
    alignas(cmsghdr) char control[CMSG_SPACE(most_frame_fds * sizeof(int))];
    for (;;) {
        iovec part{data, size};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        if (into != nullptr) {
            message.msg_control = control;
            message.msg_controllen = sizeof control;
        }
        const ssize_t got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
        if (got < 0) {
            recover(socket, POLLIN, "cannot receive a frame");
            continue;
        }
        if (into != nullptr) take_descriptors(message, into->fds);
        if ((message.msg_flags & MSG_CTRUNC) != 0) judge_truncation(into);
        return static_cast<std::size_t>(got);
    }
}

void receive_rest(int socket, char* data, std::size_t size) {
    while (size > 0) {
        const std::size_t got = receive(socket, data, size, nullptr);
        if (got == 0) throw std::runtime_error("the connection was closed in the middle of a frame");
        data += got;
        size -= got;
    }
}

}  // namespace

void send_frame(int socket, std::string_view bytes, const std::vector<int>& fds) {
    if (fds.size() > most_frame_fds) throw std::runtime_error("a frame can carry at most 8 descriptors");
    if (bytes.size() > std::numeric_limits<std::uint32_t>::max())
        throw std::runtime_error("a frame is too long");
    const auto size = static_cast<std::uint32_t>(bytes.size());
    unsigned char header[header_size];
    for (unsigned i = 0; i < header_size; ++i) header[i] = static_cast<unsigned char>(size >> (8 * i));

    iovec parts[] = {{header, header_size}, {const_cast<char*>(bytes.data()), bytes.size()}};
    alignas(cmsghdr) char control[CMSG_SPACE(most_frame_fds * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    if (!fds.empty()) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
        cmsghdr* rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
        std::memcpy(CMSG_DATA(rights), fds.data(), fds.size() * sizeof(int));
    }
    for (std::size_t left = header_size + bytes.size(); left > 0;) {
        const ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
        if (sent < 0) {
            recover(socket, POLLOUT, "cannot send a frame");
            continue;
        }
        message.msg_control = nullptr;  // they went with the first byte
        message.msg_controllen = 0;
        left -= static_cast<std::size_t>(sent);
        if (left > 0) advance(message, static_cast<std::size_t>(sent));
    }
}

std::optional<Frame> recv_frame(int socket, std::size_t max) {
    Frame frame;
    char header[header_size];
    const std::size_t got = receive(socket, header, header_size, &frame);
    if (got == 0) return std::nullopt;
    receive_rest(socket, header + got, header_size - got);
    std::uint32_t size = 0;
    for (unsigned i = 0; i < header_size; ++i) {
        size |= static_cast<std::uint32_t>(static_cast<unsigned char>(header[i])) << (8 * i);
    }
    if (size > max) {
        throw std::runtime_error("a frame of " + std::to_string(size) + " bytes is longer than the " +
                                 std::to_string(max) + " that are allowed");
    }
    // Grows with what arrives, so that a length alone costs no memory.
    constexpr std::size_t step = 1U << 20U;
    while (frame.bytes.size() < size) {
        const std::size_t have = frame.bytes.size();
        frame.bytes.resize(std::min<std::size_t>(size, have + step));
        receive_rest(socket, frame.bytes.data() + have, frame.bytes.size() - have);
    }
    return frame;
}

}  // namespace minions
