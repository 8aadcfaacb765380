#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace minions::agent {

/// The peer broke the protocol. The text is a sentence; the session is over.
struct ProtocolError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// The body of a message: tagged values in the order in which they were added (docs/agent-protocol.md,
/// "Fields"). A tag may be repeated; readers ignore tags that they do not know. A value type.
class Fields {
  public:
    Fields() = default;
    /// Checks the whole text first. Throws ProtocolError.
    static Fields parse(std::string_view bytes);

    Fields& add(std::uint8_t tag, std::string_view value);
    Fields& add_number(std::uint8_t tag, std::int64_t value);

    /// The first value of that tag.
    std::optional<std::string_view> text(std::uint8_t tag) const;
    /// As text(); throws ProtocolError where the value is no number.
    std::optional<std::int64_t> number(std::uint8_t tag) const;
    std::vector<std::string> all(std::uint8_t tag) const;

    const std::string& bytes() const noexcept { return bytes_; }

  private:
    template <class Found>
    void each(Found&& found) const;
    std::string bytes_;
};

/// Little-endian integers of frames and fields.
void put_u32(std::string& out, std::uint32_t value);
std::uint32_t get_u32(const char* at) noexcept;

}  // namespace minions::agent
