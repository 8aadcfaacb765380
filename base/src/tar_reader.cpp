#include <minions/base/tar.hpp>

#include <algorithm>
#include <cstring>

namespace minions {
namespace {

constexpr std::size_t block_size = 512;
constexpr std::uint64_t most_text = 65536;  // of a long name or a set of pax records

std::string text_field(const char* field, std::size_t size) { return {field, ::strnlen(field, size)}; }

std::uint64_t number_field(const char* field, std::size_t size) {
    std::uint64_t value = 0;
    if ((static_cast<unsigned char>(field[0]) & 0x80U) != 0) {  // GNU: binary, big endian
        if (static_cast<unsigned char>(field[0]) != 0x80)
            throw TarError("the archive holds a number out of range");
        for (std::size_t i = 1; i < size; ++i) {
            if (value >> 55U != 0) throw TarError("the archive holds a number out of range");
            value = value << 8U | static_cast<unsigned char>(field[i]);
        }
        return value;
    }
    std::size_t at = 0;
    while (at < size && field[at] == ' ') ++at;
    for (; at < size && field[at] != ' ' && field[at] != '\0'; ++at) {
        if (field[at] < '0' || field[at] > '7') throw TarError("the archive holds a number that is none");
        value = value << 3U | static_cast<unsigned>(field[at] - '0');
    }
    return value;
}

void check_sum(const char* block) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < block_size; ++i) {
        sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(block[i]);
    }
    if (sum != number_field(block + 148, 8)) throw TarError("the archive is damaged: a checksum is wrong");
}

/// Follows `path` from `base`, both below the root, as text. Nothing if that leads out or is absolute.
std::optional<std::string> resolve(const std::string& base, const std::string& path, bool allow_parent) {
    if (!path.empty() && path[0] == '/') return std::nullopt;
    std::vector<std::string> parts;
    const std::string whole = base + "/" + path;
    for (std::size_t at = 0; at <= whole.size();) {
        const std::size_t end = std::min(whole.find('/', at), whole.size());
        const std::string part = whole.substr(at, end - at);
        at = end + 1;
        if (part.empty() || part == ".") continue;
        if (part != "..") {
            parts.push_back(part);
            continue;
        }
        if (!allow_parent || parts.empty()) return std::nullopt;
        parts.pop_back();
    }
    std::string result;
    for (const std::string& part : parts) result += (result.empty() ? "" : "/") + part;
    return result;
}

std::uint32_t owner_of(const std::optional<std::uint64_t>& given, const char* field) {
    const std::uint64_t number = given ? *given : number_field(field, 8);
    if (number >= UINT32_MAX) throw TarError("the archive holds an owner's number out of range");
    return static_cast<std::uint32_t>(number);
}

}  // namespace

/// What pax or GNU records say about the entry that follows them.
struct TarReader::Overrides {
    std::optional<std::string> path;
    std::optional<std::string> link;
    std::optional<std::uint64_t> size;
    std::optional<std::uint64_t> uid;
    std::optional<std::uint64_t> gid;

    void parse(std::string_view records) {
        while (!records.empty()) {
            const std::size_t space = records.find(' ');
            const std::size_t length = space > 6 ? 0 : number(records.substr(0, space));
            if (length <= space + 1 || length > records.size() || records[length - 1] != '\n') {
                throw TarError("the archive holds a pax record that makes no sense");
            }
            const std::string_view record = records.substr(space + 1, length - space - 2);
            records.remove_prefix(length);
            const std::size_t equals = record.find('=');
            if (equals == std::string_view::npos)
                throw TarError("the archive holds a pax record without a value");
            const std::string_view key = record.substr(0, equals);
            const std::string_view value = record.substr(equals + 1);
            if (key == "path") path = value;
            if (key == "linkpath") link = value;
            if (key == "size") size = number(value);
            if (key == "uid") uid = number(value);
            if (key == "gid") gid = number(value);
        }
    }

    static std::uint64_t number(std::string_view text) {
        if (text.empty() || text.size() > 18 ||
            text.find_first_not_of("0123456789") != std::string_view::npos) {
            throw TarError("the archive holds a pax record with a wrong number");
        }
        return std::stoull(std::string(text));
    }
};

TarReader::TarReader(Source source, TarLimits limits, TarContents contents)
    : source_(std::move(source)), left_(limits), contents_(contents) {}

void TarReader::fill(char* data, std::size_t size) {
    while (size > 0) {
        const std::size_t got = source_(data, size);
        if (got == 0) throw TarError("the archive is truncated");
        data += got;
        size -= got;
    }
}

void TarReader::skip() {
    char buffer[8192];
    for (std::uint64_t left = unread_ + padding_; left > 0;) {
        const std::size_t size = std::min<std::uint64_t>(left, sizeof buffer);
        fill(buffer, size);
        left -= size;
    }
    unread_ = padding_ = 0;
}

std::string TarReader::take_text(std::uint64_t size) {
    if (size > most_text) throw TarError("the archive holds a name or record of more than 64 KiB");
    std::string text(size, '\0');
    fill(text.data(), text.size());
    padding_ = (block_size - size % block_size) % block_size;
    skip();
    return text;
}

std::size_t TarReader::read(char* data, std::size_t size) {
    size = std::min<std::uint64_t>(size, unread_);
    if (size == 0) return 0;
    const std::size_t got = source_(data, size);
    if (got == 0) throw TarError("the archive is truncated");
    unread_ -= got;
    return got;
}

std::optional<TarEntry> TarReader::next() {
    for (;;) {
        auto entry = next_entry();
        if (!entry || !passed_over_) return entry;
    }
}

std::optional<TarEntry> TarReader::next_entry() {
    passed_over_ = false;
    if (ended_) return std::nullopt;
    skip();
    Overrides overrides;
    for (int records = 0; records < 8; ++records) {
        char block[block_size];
        fill(block, block_size);
        if (std::all_of(block, block + block_size, [](char each) { return each == 0; })) {
            ended_ = true;
            return std::nullopt;
        }
        check_sum(block);
        const char type = block[156];
        const std::uint64_t size = number_field(block + 124, 12);
        if (type == 'x') {
            overrides.parse(take_text(size));
        } else if (type == 'g') {
            take_text(size);  // comments and defaults, as git writes them: nothing that concerns names
        } else if (type == 'L') {
            const std::string text = take_text(size);
            overrides.path = text_field(text.data(), text.size());
        } else if (type == 'K') {
            const std::string text = take_text(size);
            overrides.link = text_field(text.data(), text.size());
        } else {
            return decode(block, overrides);
        }
    }
    throw TarError("the archive holds records without an entry");
}

void TarReader::check_link(TarEntry& entry) const {
    const bool symlink = entry.type == TarEntry::Type::symlink;
    if (symlink && contents_ == TarContents::system && !entry.link.empty()) return;
    const std::size_t slash = entry.name.rfind('/');
    const std::string base = symlink && slash != std::string::npos ? entry.name.substr(0, slash) : "";
    const auto target = resolve(base, entry.link, symlink);
    if (!target || entry.link.empty()) {
        throw TarError("the archive's link '" + entry.name + "' leads outside of it, to '" + entry.link +
                       "'");
    }
    if (!symlink) entry.link = *target;
}

TarEntry TarReader::decode(const char* block, const Overrides& overrides) {
    if (left_.max_entries == 0) throw TarError("the archive has more entries than allowed");
    --left_.max_entries;
    TarEntry entry;
    std::string stored = text_field(block, 100);
    const bool posix = std::memcmp(block + 257, "ustar\0", 6) == 0;
    const std::string prefix = posix ? text_field(block + 345, 155) : "";
    if (!prefix.empty()) stored = prefix + "/" + stored;
    stored = overrides.path.value_or(stored);
    entry.link = overrides.link.value_or(text_field(block + 157, 100));
    const char type = block[156];
    if (type == '0' || type == '\0' || type == '7') {
        entry.type =
            !stored.empty() && stored.back() == '/' ? TarEntry::Type::directory : TarEntry::Type::file;
    } else if (type == '5') {
        entry.type = TarEntry::Type::directory;
    } else if (type == '2') {
        entry.type = TarEntry::Type::symlink;
    } else if (type == '1') {
        entry.type = TarEntry::Type::hardlink;
    } else if (contents_ == TarContents::system && (type == '3' || type == '4' || type == '6')) {
        passed_over_ = true;
    } else {
        throw TarError("the archive's entry '" + stored + "' is neither file, directory nor link");
    }
    const bool nul = stored.find('\0') != std::string::npos || entry.link.find('\0') != std::string::npos;
    const auto name = resolve("", stored, false);
    if (nul || stored.empty() || !name)
        throw TarError("the archive's entry '" + stored + "' leads outside of it");
    entry.name = *name;
    if (entry.name.empty() && entry.type != TarEntry::Type::directory) {
        throw TarError("the archive's entry '" + stored + "' has no name");
    }
    if (entry.type == TarEntry::Type::symlink || entry.type == TarEntry::Type::hardlink) check_link(entry);
    entry.uid = owner_of(overrides.uid, block + 108);
    entry.gid = owner_of(overrides.gid, block + 116);
    entry.mode = static_cast<mode_t>(number_field(block + 100, 8) & 07777U);
    entry.mtime = static_cast<std::int64_t>(number_field(block + 136, 12));
    const std::uint64_t size = overrides.size.value_or(number_field(block + 124, 12));
    if (entry.type == TarEntry::Type::file && !passed_over_) entry.size = size;
    if (entry.size > left_.max_bytes) throw TarError("the archive has more bytes than allowed");
    left_.max_bytes -= entry.size;
    unread_ = entry.size;
    padding_ = (block_size - unread_ % block_size) % block_size;
    return entry;
}

}  // namespace minions
