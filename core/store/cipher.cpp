#include "core/store/cipher.hpp"

#include <minions/base/id.hpp>
#include <minions/error.hpp>

#include <openssl/evp.h>

#include <memory>

namespace minions::core {

namespace {

constexpr std::size_t nonce_bytes = 12;
constexpr std::size_t tag_bytes = 16;
constexpr std::string_view prefix = "gcm1:";
constexpr char digits[] = "0123456789abcdef";

struct FreeCipher {
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, FreeCipher>;

const unsigned char* bytes_of(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* bytes_of(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

std::string to_hex(std::string_view bytes) {
    std::string out;
    out.reserve(bytes.size() * 2);
    for (const char byte : bytes) {
        out += digits[static_cast<unsigned char>(byte) >> 4U];
        out += digits[static_cast<unsigned char>(byte) & 15U];
    }
    return out;
}

bool from_hex(std::string_view text, std::string& out) {
    if (text.size() % 2 != 0) return false;
    const auto value = [](char digit) {
        const auto at = std::string_view(digits, 16).find(digit);
        return at == std::string_view::npos ? -1 : static_cast<int>(at);
    };
    for (std::size_t i = 0; i < text.size(); i += 2) {
        const int high = value(text[i]);
        const int low = value(text[i + 1]);
        if (high < 0 || low < 0) return false;
        out += static_cast<char>(high * 16 + low);
    }
    return true;
}

[[noreturn]] void fail_decrypt() {
    throw Error{Code::unavailable, "an encrypted value of the database does not open with the key file",
                "restore the file 'key' that belongs to this state directory from its backup"};
}

}  // namespace

std::string Cipher::encrypt(std::string_view clear, std::string_view context) const {
    std::string out(nonce_bytes + clear.size() + tag_bytes, '\0');
    random_bytes(out.data(), nonce_bytes);
    unsigned char* nonce = bytes_of(out);
    unsigned char* body = nonce + nonce_bytes;
    const CipherContext cipher(EVP_CIPHER_CTX_new());
    int written = 0;
    const bool done =
        cipher != nullptr &&
        EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key_.data(), nonce) == 1 &&
        EVP_EncryptUpdate(cipher.get(), nullptr, &written, bytes_of(context),
                          static_cast<int>(context.size())) == 1 &&
        EVP_EncryptUpdate(cipher.get(), body, &written, bytes_of(clear), static_cast<int>(clear.size())) ==
            1 &&
        EVP_EncryptFinal_ex(cipher.get(), body + clear.size(), &written) == 1 &&
        EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, tag_bytes, body + clear.size()) == 1;
    if (!done) throw Error{Code::internal, "the crypto library cannot encrypt with AES-256-GCM"};
    return std::string(prefix) + to_hex(out);
}

std::string Cipher::decrypt(std::string_view text, std::string_view context) const {
    std::string raw;
    if (!text.starts_with(prefix) || !from_hex(text.substr(prefix.size()), raw) ||
        raw.size() < nonce_bytes + tag_bytes)
        fail_decrypt();
    unsigned char* nonce = bytes_of(raw);
    const std::size_t size = raw.size() - nonce_bytes - tag_bytes;
    unsigned char* body = nonce + nonce_bytes;
    std::string clear(size, '\0');
    const CipherContext cipher(EVP_CIPHER_CTX_new());
    int written = 0;
    unsigned char none = 0;
    const bool done =
        cipher != nullptr &&
        EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key_.data(), nonce) == 1 &&
        EVP_DecryptUpdate(cipher.get(), nullptr, &written, bytes_of(context),
                          static_cast<int>(context.size())) == 1 &&
        EVP_DecryptUpdate(cipher.get(), bytes_of(clear), &written, body, static_cast<int>(size)) == 1 &&
        EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, tag_bytes, body + size) == 1 &&
        EVP_DecryptFinal_ex(cipher.get(), &none, &written) == 1;
    if (!done) fail_decrypt();
    return clear;
}

}  // namespace minions::core
