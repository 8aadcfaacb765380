#include "tar_text.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace minions::examples {
namespace {

constexpr std::size_t block = 512;

/// The header of POSIX.1-1988 (ustar).
struct Header {
    char name[100];
    char mode[8];
    char uid[8];
    char gid[8];
    char size[12];
    char mtime[12];
    char checksum[8];
    char type;
    char link[100];
    char magic[6];
    char version[2];
    char user[32];
    char group[32];
    char major[8];
    char minor[8];
    char prefix[155];
    char padding[12];
};
static_assert(sizeof(Header) == block);

template <std::size_t N>
std::string text_of(const char (&field)[N]) {
    return {field, ::strnlen(field, N)};
}

template <std::size_t N>
std::size_t octal_of(const char (&field)[N]) {
    return std::strtoull(text_of(field).c_str(), nullptr, 8);
}

template <std::size_t N>
void put_octal(char (&field)[N], std::size_t value) {
    for (std::size_t i = N - 1; i-- > 0; value >>= 3U) field[i] = static_cast<char>('0' + (value & 7U));
}

std::size_t padded(std::size_t size) { return (size + block - 1) / block * block; }

std::size_t sum_of(Header header) {
    std::memset(header.checksum, ' ', sizeof header.checksum);
    unsigned char bytes[block];
    std::memcpy(bytes, &header, block);
    std::size_t sum = 0;
    for (const auto byte : bytes) sum += byte;
    return sum;
}

std::string tidy(std::string name) {
    while (name.starts_with("./")) name.erase(0, 2);
    while (!name.empty() && name.back() == '/') name.pop_back();
    return name == "." ? std::string() : name;
}

/// The "path" record of a pax header, or empty.
std::string pax_path(std::string_view records) {
    while (!records.empty()) {
        const std::size_t length = std::strtoull(std::string(records.substr(0, 20)).c_str(), nullptr, 10);
        if (length == 0 || length > records.size()) break;
        const std::string_view record = records.substr(0, length);
        const auto at = record.find(" path=");
        if (at != std::string_view::npos && at < 20)
            return std::string(record.substr(at + 6, length - at - 7));
        records.remove_prefix(length);
    }
    return {};
}

void append_entry(std::string& out, const std::string& name, char type, unsigned mode,
                  const std::string& content) {
    Header header{};
    std::memcpy(header.name, name.data(), std::min(name.size(), sizeof header.name));
    put_octal(header.mode, mode);
    put_octal(header.uid, 0);
    put_octal(header.gid, 0);
    put_octal(header.size, content.size());
    put_octal(header.mtime, 0);
    header.type = type;
    std::memcpy(header.magic, "ustar", 6);
    std::memcpy(header.version, "00", 2);
    put_octal(header.checksum, sum_of(header));
    out.append(reinterpret_cast<const char*>(&header), block);
    out += content;
    out.append(padded(content.size()) - content.size(), '\0');
}

}  // namespace

std::map<std::string, NullFile> read_tar(std::string_view archive) {
    std::map<std::string, NullFile> entries;
    std::string long_name;
    while (archive.size() >= block && archive[0] != '\0') {
        Header header{};
        std::memcpy(&header, archive.data(), block);
        if (octal_of(header.checksum) != sum_of(header)) {
            throw Error(Code::invalid, "the stream is not a tar archive", "send what tar -c writes");
        }
        archive.remove_prefix(block);
        const std::size_t size = octal_of(header.size);
        if (size > archive.size()) throw Error(Code::invalid, "the tar archive ends in the middle of a file");
        const std::string_view content = archive.substr(0, size);
        archive.remove_prefix(std::min(padded(size), archive.size()));
        if (header.type == 'L') {
            long_name = std::string(content.substr(0, content.find('\0')));
        } else if (header.type == 'x') {
            long_name = pax_path(content);
        } else if (header.type != 'g') {
            const std::string prefix =
                std::memcmp(header.magic, "ustar", 6) == 0 ? text_of(header.prefix) : "";
            std::string name = prefix.empty() ? text_of(header.name) : prefix + "/" + text_of(header.name);
            if (!long_name.empty()) name = std::exchange(long_name, {});
            name = tidy(std::move(name));
            const auto mode = static_cast<unsigned>(octal_of(header.mode) & 07777U);
            const char type = header.type == '\0' ? '0' : header.type;
            if (!name.empty()) entries[name] = NullFile{std::string(content), mode, type};
        }
    }
    return entries;
}

std::string write_tar(const std::map<std::string, NullFile>& entries) {
    std::string out;
    for (const auto& [path, file] : entries) {
        const std::string name = file.type == '5' ? path + "/" : path;
        if (name.size() > sizeof(Header::name)) {
            const std::string tail = " path=" + name + "\n";
            std::size_t length = tail.size() + 1;
            while (std::to_string(length).size() + tail.size() != length) ++length;
            append_entry(out, "pax", 'x', 0644, std::to_string(length) + tail);
        }
        append_entry(out, name, file.type, file.mode, file.content);
    }
    return out.append(2 * block, '\0');
}

}  // namespace minions::examples
