#include "core/net/netlink.hpp"

#include <minions/error.hpp>

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cerrno>

namespace minions::core {
namespace {

constexpr std::size_t aligned(std::size_t size) { return (size + 3) & ~std::size_t{3}; }

template <class Value>
Value read_at(std::string_view bytes, std::size_t at = 0) {
    Value value{};
    if (bytes.size() >= at + sizeof value) std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
}

NetlinkMessage batch_end(std::uint16_t type) {
    nfgenmsg header{};
    header.res_id = htons(NFNL_SUBSYS_NFTABLES);
    return std::move(NetlinkMessage(type, 0).header(header));
}

}  // namespace

NetlinkMessage::NetlinkMessage(std::uint16_t type, std::uint16_t flags) {
    nlmsghdr header{};
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<std::uint16_t>(flags | NLM_F_REQUEST);
    append(&header, sizeof header);
}

void NetlinkMessage::append(const void* data, std::size_t size) {
    bytes_.append(static_cast<const char*>(data), size);
    bytes_.resize(aligned(bytes_.size()));
}

NetlinkMessage& NetlinkMessage::attribute(std::uint16_t type, std::string_view bytes) {
    const nlattr head{static_cast<std::uint16_t>(sizeof(nlattr) + bytes.size()), type};
    append(&head, sizeof head);
    append(bytes.data(), bytes.size());
    return *this;
}

NetlinkMessage& NetlinkMessage::text(std::uint16_t type, const std::string& text) {
    return attribute(type, {text.c_str(), text.size() + 1});
}

void NetlinkMessage::end_nested(std::size_t start) {
    nlattr head = read_at<nlattr>(bytes_, start);
    head.nla_len = static_cast<std::uint16_t>(bytes_.size() - start);
    head.nla_type |= NLA_F_NESTED;
    std::memcpy(bytes_.data() + start, &head, sizeof head);
}

std::optional<std::string_view> NetlinkAttributes::find(std::uint16_t type) const {
    for (std::string_view rest = bytes_; rest.size() >= sizeof(nlattr);) {
        const auto head = read_at<nlattr>(rest);
        if (head.nla_len < sizeof(nlattr) || head.nla_len > rest.size()) break;
        if ((head.nla_type & NLA_TYPE_MASK) == type)
            return rest.substr(sizeof(nlattr), head.nla_len - sizeof(nlattr));
        rest.remove_prefix(std::min(aligned(head.nla_len), rest.size()));
    }
    return std::nullopt;
}

std::string NetlinkAttributes::text(std::uint16_t type) const {
    const std::string_view bytes = find(type).value_or(std::string_view{});
    return std::string(bytes.substr(0, bytes.find('\0')));
}

std::optional<std::uint32_t> NetlinkAttributes::number(std::uint16_t type) const {
    const auto bytes = find(type);
    if (!bytes || bytes->size() < sizeof(std::uint32_t)) return std::nullopt;
    return read_at<std::uint32_t>(*bytes);
}

NetlinkSocket::NetlinkSocket(int protocol) : fd_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)) {
    if (!fd_) throw error_from_errno(errno, "cannot talk to the kernel about networks");
    const int on = 1;  // names the attribute that was wrong, and leaves the request out of the answer
    ::setsockopt(fd_.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
    ::setsockopt(fd_.get(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
}

std::uint32_t NetlinkSocket::number(NetlinkMessage& message) {
    auto header = read_at<nlmsghdr>(message.bytes_);
    header.nlmsg_len = static_cast<std::uint32_t>(message.bytes_.size());
    header.nlmsg_seq = ++sequence_;
    std::memcpy(message.bytes_.data(), &header, sizeof header);
    return header.nlmsg_seq;
}

void NetlinkSocket::send(std::string_view bytes) {
    ssize_t sent = 0;
    do {
        sent = ::send(fd_.get(), bytes.data(), bytes.size(), 0);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) throw error_from_errno(errno, "cannot ask the kernel about networks");
}

int NetlinkSocket::ask(NetlinkMessage message, const Visit& visit) {
    auto header = read_at<nlmsghdr>(message.bytes_);
    header.nlmsg_flags |= NLM_F_ACK;
    std::memcpy(message.bytes_.data(), &header, sizeof header);
    const std::uint32_t sequence = number(message);
    send(message.bytes_);
    return receive(sequence, false, visit);
}

int NetlinkSocket::list(NetlinkMessage message, const Visit& visit) {
    auto header = read_at<nlmsghdr>(message.bytes_);
    header.nlmsg_flags |= NLM_F_DUMP;
    std::memcpy(message.bytes_.data(), &header, sizeof header);
    const std::uint32_t sequence = number(message);
    send(message.bytes_);
    return receive(sequence, true, visit);
}

int NetlinkSocket::transact(std::vector<NetlinkMessage> messages) {
    auto& last = messages.back();
    auto header = read_at<nlmsghdr>(last.bytes_);
    header.nlmsg_flags |= NLM_F_ACK;
    std::memcpy(last.bytes_.data(), &header, sizeof header);
    messages.insert(messages.begin(), batch_end(NFNL_MSG_BATCH_BEGIN));
    messages.push_back(batch_end(NFNL_MSG_BATCH_END));
    std::string batch;
    std::uint32_t answered = 0;
    for (auto& message : messages) {
        const std::uint32_t sequence = number(message);
        if (&message != &messages.back()) answered = sequence;
        batch += message.bytes_;
    }
    send(batch);
    return receive(answered, false, {});
}

/// Until the answer to `sequence`, or an error about one before it (of the same batch).
int NetlinkSocket::receive(std::uint32_t sequence, bool list, const Visit& visit) {
    constexpr std::size_t largest = std::size_t{64} << 10U;
    std::string buffer(largest, '\0');
    for (;;) {
        const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw error_from_errno(errno, "the kernel's answer about networks was lost");
        std::string_view rest(buffer.data(), static_cast<std::size_t>(got));
        while (rest.size() >= sizeof(nlmsghdr)) {
            const auto header = read_at<nlmsghdr>(rest);
            if (header.nlmsg_len < sizeof(nlmsghdr) || header.nlmsg_len > rest.size()) break;
            const std::string_view body = rest.substr(sizeof(nlmsghdr), header.nlmsg_len - sizeof(nlmsghdr));
            rest.remove_prefix(std::min(aligned(header.nlmsg_len), rest.size()));
            if (header.nlmsg_type == NLMSG_ERROR) {
                const int error = -read_at<int>(body);
                if (error != 0 || header.nlmsg_seq == sequence) return error;
            } else if (header.nlmsg_type == NLMSG_DONE && list) {
                return std::max(0, -read_at<int>(body));
            } else if (header.nlmsg_type != NLMSG_NOOP && visit) {
                visit({header.nlmsg_type, body});
            }
        }
    }
}

}  // namespace minions::core
