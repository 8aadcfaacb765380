#pragma once

#include <minions/base/fd.hpp>

#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace minions::core {

/// One request to the kernel, put together from front to back: the family's header first, then attributes.
class NetlinkMessage {
  public:
    /// NLM_F_REQUEST is added.
    NetlinkMessage(std::uint16_t type, std::uint16_t flags);

    template <class Header>
    NetlinkMessage& header(const Header& header) {
        static_assert(std::is_trivially_copyable_v<Header>);
        append(&header, sizeof header);
        return *this;
    }
    NetlinkMessage& attribute(std::uint16_t type, std::string_view bytes);
    /// With the zero at its end that the kernel wants of names.
    NetlinkMessage& text(std::uint16_t type, const std::string& text);
    template <class Number>
    NetlinkMessage& number(std::uint16_t type, Number number) {
        static_assert(std::is_integral_v<Number>);
        char bytes[sizeof number];
        std::memcpy(bytes, &number, sizeof number);
        return attribute(type, {bytes, sizeof bytes});
    }
    /// Puts what `inside` adds into one attribute.
    template <class Inside>
    NetlinkMessage& nested(std::uint16_t type, Inside&& inside) {
        const std::size_t start = bytes_.size();
        attribute(type, {});
        inside(*this);
        end_nested(start);
        return *this;
    }

  private:
    friend class NetlinkSocket;
    void append(const void* data, std::size_t size);
    void end_nested(std::size_t start);

    std::string bytes_;
};

/// Attributes of a reply, by type; what is malformed ends the list. Views into the reply.
class NetlinkAttributes {
  public:
    explicit NetlinkAttributes(std::string_view bytes) : bytes_(bytes) {}
    std::optional<std::string_view> find(std::uint16_t type) const;
    /// Without the zero at its end; empty where it is absent.
    std::string text(std::uint16_t type) const;
    std::optional<std::uint32_t> number(std::uint16_t type) const;

  private:
    std::string_view bytes_;
};

/// A reply: its type and all after the netlink header.
struct NetlinkReply {
    std::uint16_t type = 0;
    std::string_view body;

    /// The family's header, zeroes where the reply is too short for it.
    template <class Header>
    Header header() const {
        Header header{};
        if (body.size() >= sizeof header) std::memcpy(&header, body.data(), sizeof header);
        return header;
    }
    template <class Header>
    NetlinkAttributes attributes() const {
        constexpr std::size_t size = (sizeof(Header) + 3) & ~std::size_t{3};
        return NetlinkAttributes(body.size() >= size ? body.substr(size) : std::string_view{});
    }
};

/// A conversation with the kernel about the calling thread's network namespace. Not thread-safe.
class NetlinkSocket {
  public:
    /// NETLINK_ROUTE, NETLINK_NETFILTER. Throws Error.
    explicit NetlinkSocket(int protocol);

    using Visit = std::function<void(const NetlinkReply&)>;
    /// Sends and waits until it is done; returns the kernel's errno, 0 for success. A reply with contents
    /// goes to `visit`. Throws Error where the conversation itself breaks.
    int ask(NetlinkMessage message, const Visit& visit = {});
    /// Asks for a list.
    int list(NetlinkMessage message, const Visit& visit);
    /// nftables: all of them or none. Use the socket no more after a failure.
    int transact(std::vector<NetlinkMessage> messages);

  private:
    int receive(std::uint32_t sequence, bool list, const Visit& visit);
    std::uint32_t number(NetlinkMessage& message);
    void send(std::string_view bytes);

    Fd fd_;
    std::uint32_t sequence_ = 0;
};

}  // namespace minions::core
