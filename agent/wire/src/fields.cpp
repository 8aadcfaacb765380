#include <minions/agent/fields.hpp>

namespace minions::agent {

namespace {
constexpr std::size_t head_bytes = 5;  // a tag and a length
constexpr std::size_t number_bytes = 8;
}  // namespace

void put_u32(std::string& out, std::uint32_t value) {
    for (unsigned shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(value >> shift & 0xFFU));
}

std::uint32_t get_u32(const char* at) noexcept {
    std::uint32_t value = 0;
    for (unsigned i = 0; i < 4; ++i) value |= std::uint32_t{static_cast<unsigned char>(at[i])} << (8 * i);
    return value;
}

/// `found(tag, value)` for each field until it returns true. The bytes have been checked.
template <class Found>
void Fields::each(Found&& found) const {
    for (std::size_t at = 0; at < bytes_.size();) {
        const std::size_t size = get_u32(&bytes_[at + 1]);
        const std::string_view value(bytes_.data() + at + head_bytes, size);
        if (found(static_cast<std::uint8_t>(bytes_[at]), value)) return;
        at += head_bytes + size;
    }
}

Fields Fields::parse(std::string_view bytes) {
    for (std::size_t at = 0; at < bytes.size();) {
        if (bytes.size() - at < head_bytes) throw ProtocolError("a field is cut off");
        const std::size_t size = get_u32(&bytes[at + 1]);
        if (bytes.size() - at - head_bytes < size) throw ProtocolError("a field is longer than its message");
        at += head_bytes + size;
    }
    Fields fields;
    fields.bytes_ = bytes;
    return fields;
}

Fields& Fields::add(std::uint8_t tag, std::string_view value) {
    bytes_.push_back(static_cast<char>(tag));
    put_u32(bytes_, static_cast<std::uint32_t>(value.size()));
    bytes_.append(value);
    return *this;
}

Fields& Fields::add_number(std::uint8_t tag, std::int64_t value) {
    std::string bytes;
    put_u32(bytes, static_cast<std::uint32_t>(static_cast<std::uint64_t>(value)));
    put_u32(bytes, static_cast<std::uint32_t>(static_cast<std::uint64_t>(value) >> 32U));
    return add(tag, bytes);
}

std::optional<std::string_view> Fields::text(std::uint8_t tag) const {
    std::optional<std::string_view> result;
    each([&](std::uint8_t found, std::string_view value) {
        if (found == tag) result = value;
        return found == tag;
    });
    return result;
}

std::optional<std::int64_t> Fields::number(std::uint8_t tag) const {
    const auto value = text(tag);
    if (!value) return std::nullopt;
    if (value->size() != number_bytes)
        throw ProtocolError("a field that should be a number has another size");
    const std::uint64_t low = get_u32(value->data());
    const std::uint64_t high = get_u32(value->data() + 4);
    return static_cast<std::int64_t>(high << 32U | low);
}

std::vector<std::string> Fields::all(std::uint8_t tag) const {
    std::vector<std::string> result;
    each([&](std::uint8_t found, std::string_view value) {
        if (found == tag) result.emplace_back(value);
        return false;
    });
    return result;
}

}  // namespace minions::agent
