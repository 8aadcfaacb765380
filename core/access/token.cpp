#include "core/access/token.hpp"

#include <minions/base/id.hpp>

#include <Poco/SHA2Engine.h>

#include <array>

namespace minions::core {
namespace {

std::string base64url(const unsigned char* data, std::size_t size) {
    constexpr char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    std::string out;
    unsigned bits = 0;
    unsigned held = 0;
    for (std::size_t i = 0; i < size; ++i) {
        bits = (bits << 8) | data[i];
        for (held += 8; held >= 6; held -= 6) out.push_back(alphabet[(bits >> (held - 6)) & 63]);
    }
    if (held > 0) out.push_back(alphabet[(bits << (6 - held)) & 63]);
    return out;
}

}  // namespace

std::string generate_token() {
    std::array<unsigned char, 32> random;
    random_bytes(random.data(), random.size());
    return "mn_" + base64url(random.data(), random.size());
}

std::string hash_token(std::string_view token) {
    Poco::SHA2Engine engine(Poco::SHA2Engine::SHA_256);
    engine.update(token.data(), token.size());
    return Poco::DigestEngine::digestToHex(engine.digest());
}

bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept {
    if (a.size() != b.size()) return false;
    unsigned char difference = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        // volatile: the compiler may not leave the loop early.
        volatile unsigned char byte = static_cast<unsigned char>(a[i] ^ b[i]);
        difference = static_cast<unsigned char>(difference | byte);
    }
    return difference == 0;
}

}  // namespace minions::core
