#include <minions/base/id.hpp>

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace minions {
namespace {

constexpr std::size_t id_size = 12;
constexpr std::string_view base32 = "abcdefghijklmnopqrstuvwxyz234567";  // RFC 4648, lower case

}  // namespace

void random_bytes(void* data, std::size_t size) {
    char* next = static_cast<char*>(data);
    while (size > 0) {
        const ssize_t got = ::getrandom(next, size, 0);
        if (got < 0) {
            if (errno == EINTR) continue;
            throw std::system_error(errno, std::generic_category(), "getrandom");
        }
        next += got;
        size -= static_cast<std::size_t>(got);
    }
}

std::string make_id() {
    unsigned char bytes[id_size];
    random_bytes(bytes, sizeof bytes);
    std::string id;
    for (const unsigned char byte : bytes) id += base32[byte % base32.size()];
    return id;
}

bool is_id(std::string_view text) noexcept {
    return text.size() == id_size && text.find_first_not_of(base32) == std::string_view::npos;
}

std::string hex(std::string_view bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    text.reserve(bytes.size() * 2);
    for (const char each : bytes) {
        const auto byte = static_cast<unsigned char>(each);
        text += digits[byte >> 4U];
        text += digits[byte & 15U];
    }
    return text;
}

}  // namespace minions
