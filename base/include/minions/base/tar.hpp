#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace minions {

/// A tree that cannot be packed, an archive that is refused, or a limit that was reached. The text is a
/// sentence.
struct TarError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct TarLimits {
    std::uint64_t max_bytes = 1ULL << 30U;  ///< of all files' contents together
    std::size_t max_entries = 100'000;
};

/// What add_tree() leaves out and how it writes the rest.
struct TreeOptions {
    /// "name": whatever is called so, at any depth; "/a/b": this path of the tree. Left out with all below
    /// it.
    std::vector<std::string> exclude;
    /// The time of every entry, in seconds since 1970; without it each keeps its own.
    std::optional<std::int64_t> mtime;
};

/// Writes a tar stream (ustar, with pax records for long names and large files) piece by piece. Every entry
/// belongs to 0:0. Failures throw TarError, or what the sink throws; the stream is then worthless. Not
/// thread-safe.
class TarWriter {
  public:
    using Sink = std::function<void(std::string_view)>;
    explicit TarWriter(Sink sink, TarLimits limits = {});

    void add_file(const std::string& name, std::string_view contents, mode_t mode = 0644,
                  std::int64_t mtime = 0);
    void add_directory(const std::string& name, mode_t mode = 0755, std::int64_t mtime = 0);
    void add_symlink(const std::string& name, const std::string& target, std::int64_t mtime = 0);

    /// Packs what is below the open `directory`, in the order of the names' bytes. Follows no link, however
    /// the tree changes meanwhile: links are stored as links. Sockets, FIFOs and devices are left out. A file
    /// that shrinks while it is read throws.
    void add_tree(int directory, const TreeOptions& options = {});
    /// Packs `name` in the open `directory`, and everything below it, the same way.
    void add_path(int directory, const std::string& name, const TreeOptions& options = {});

    /// Writes the end of the archive. Without it a reader sees a truncated one.
    void finish();

  private:
    void add_header(const std::string& name, char type, std::uint64_t size, mode_t mode, std::int64_t mtime,
                    const std::string& link);
    void write_block(const std::string& name, char type, std::uint64_t size, mode_t mode, std::int64_t mtime,
                     const std::string& link);
    void pad(std::uint64_t size);
    void add_level(int directory, const std::string& prefix, const TreeOptions& options, int depth);
    void add_entry(int directory, const std::string& name, const std::string& path,
                   const TreeOptions& options, int depth);
    void add_open_file(int file, const std::string& name, std::uint64_t size, mode_t mode,
                       std::int64_t mtime);

    Sink sink_;
    TarLimits left_;
};

struct TarEntry {
    enum class Type { file, directory, symlink, hardlink };
    std::string
        name;  ///< relative, without "." or ".." components or a slash at the end; "" is the root itself
    Type type = Type::file;
    std::uint64_t size = 0;
    mode_t mode = 0;
    std::int64_t mtime = 0;
    std::string link;  ///< a link's target as stored (symlink), or a name in the archive (hardlink)
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
};

/// What an archive may hold.
enum class TarContents {
    files,  ///< a tree to work with on this machine
    /// The root file system of another: links may point anywhere, since only that machine follows them. Its
    /// devices and FIFOs are passed over.
    system,
};

/// Iterates a tar stream (ustar, pax, GNU long names) without trusting it. Refuses by TarError: bad
/// checksums, absolute names, "..", links that lead out of the archive's root, devices and FIFOs, truncation,
/// and whatever exceeds the limits. Names are checked as text only: entries may still lie below a link of the
/// same archive, so extract with openat2(RESOLVE_IN_ROOT). Not thread-safe.
class TarReader {
  public:
    /// Reads up to that many bytes; 0 at the end.
    using Source = std::function<std::size_t(char*, std::size_t)>;
    explicit TarReader(Source source, TarLimits limits = {}, TarContents contents = TarContents::files);

    /// The next entry, skipping what was not read of the last; nothing at the end of the archive.
    std::optional<TarEntry> next();
    /// Reads the present file's contents; 0 at their end.
    std::size_t read(char* data, std::size_t size);

  private:
    struct Overrides;
    void fill(char* data, std::size_t size);
    void skip();
    std::string take_text(std::uint64_t size);
    std::optional<TarEntry> next_entry();
    TarEntry decode(const char* block, const Overrides& overrides);
    void check_link(TarEntry& entry) const;

    Source source_;
    TarLimits left_;
    TarContents contents_;
    bool passed_over_ = false;   ///< the present entry
    std::uint64_t unread_ = 0;   ///< of the present entry's contents
    std::uint64_t padding_ = 0;  ///< after them
    bool ended_ = false;
};

}  // namespace minions
