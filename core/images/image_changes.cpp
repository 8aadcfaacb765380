#include "core/images/image_store.hpp"
#include "core/instances/states.hpp"
#include "core/store/ids.hpp"

#include <minions/base/failpoint.hpp>
#include <minions/base/files.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

namespace minions::core {

namespace {

namespace fs = std::filesystem;

constexpr const char* owner = "local";
constexpr std::size_t manifest_bytes = std::size_t{16} << 20U;
constexpr std::size_t longest_command_line = 1024;
constexpr auto remove_timeout = std::chrono::minutes(2);

Error exists(const std::string& name) {
    return Error{Code::conflict, fmt::format("image '{}' already exists", name),
                 "choose another name, or delete it first"};
}

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
    return text;
}

/// An archive's first program is the agent: what it holds as /sbin/init does not know it.
std::string without_init(const std::string& command_line) {
    std::string kept;
    for (std::size_t at = 0; at < command_line.size();) {
        const std::size_t end = std::min(command_line.find(' ', at), command_line.size());
        const std::string word = command_line.substr(at, end - at);
        at = end + 1;
        if (!word.empty() && !word.starts_with("minions.init=")) kept += (kept.empty() ? "" : " ") + word;
    }
    return kept;
}

void check_command_line(const std::string& text) {
    const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
    if (!plain || text.size() > longest_command_line)
        throw Error{Code::invalid,
                    "field 'command_line' must be a line of at most 1024 printable characters"};
}

DiskFormat format_of(const fs::path& file, const std::string& stated) {
    std::array<char, disk_head_bytes> head{};
    const Fd opened(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    const ssize_t got = opened ? ::read(opened.get(), head.data(), head.size()) : -1;
    if (got < 0) throw error_from_errno(errno, "cannot read the upload");
    if (got == 0) throw Error{Code::invalid, "the body is empty", "send the disk or the archive as the body"};
    const auto seen = detect_disk_format({head.data(), static_cast<std::size_t>(got)});
    if (stated.empty()) {
        if (seen) return *seen;
        throw Error{Code::invalid,
                    "it cannot be told what the body is: its first bytes are those of no disk or archive",
                    "say so with 'format' if it is a raw disk all the same"};
    }
    const DiskFormat format = *disk_format_from_word(stated);
    // A raw disk may begin with anything, but not by accident with what another format begins with.
    if (seen != format && !(format == DiskFormat::raw && !seen))
        throw Error{Code::invalid, fmt::format("the body is no {}, but {}", stated,
                                               seen ? word_of(*seen) : "something that is not known")};
    return format;
}

}  // namespace

void ImageStore::check_new(const std::string& name) const {
    check_name(name);
    if (known_.lock()->tags.contains(name)) throw exists(name);
}

OperationRequest ImageStore::request(const char* kind, const std::string& name,
                                     std::optional<Idempotency> idempotency) {
    OperationRequest request;
    request.kind = kind;
    request.subject = name;
    request.owner = owner;
    request.instance = "image/" + name;  // two at once on the same name: the second is refused
    request.pool = "images";
    request.timeout = options_.build_timeout;
    request.idempotency = std::move(idempotency);
    return request;
}

Value ImageStore::keep(OperationContext& context, Draft& draft, const std::string& name) {
    context.check();
    const fs::path manifest_path = draft.path() / manifest_file;
    std::string text;
    try {
        text = read_file(manifest_path, manifest_bytes);
    } catch (const std::system_error& error) {
        throw error_from_errno(error.code().value(), "cannot read the image's manifest");
    }
    auto entry = std::make_shared<Entry>();
    entry->manifest = read_manifest(text);
    entry->row = {content_id(entry->manifest), now_rfc3339(), text};
    const std::string& id = entry->row.id;
    const ImageTagRow tag{owner, name, id, entry->row.created_at};

    context.progress({"installing", {}, {}, {}});
    const std::lock_guard held(directories_);
    const bool there =
        known_.lock()->images.contains(id);  // the same again: its files stay, with one more name
    const std::int64_t row = there ? 0 : draft.install(path_of(id).filename(), options_.group);
    try {
        if (!there)
            if (const auto stamp = file_stamp(path_of(id) / disk_file)) remember_disk(id, *stamp);
        store_.transact([&](Transaction& transaction) {
            if (!there) transaction.insert_image(entry->row);
            transaction.insert_image_tag(tag);
            if (row != 0) transaction.delete_journal(row);
            transaction.after_commit([&] {
                const auto known = known_.lock();
                if (!there) known->images[id] = entry;
                known->tags[name] = tag;
            });
        });
    } catch (const Error& failure) {
        // What cannot be removed now is by the next start, which finds the row.
        if (row != 0) {
            remove_image_directory(options_.directory, path_of(id).filename());
            store_.transact([&](Transaction& transaction) { transaction.delete_journal(row); });
        }
        if (failure.code() == Code::conflict) throw exists(name);
        throw;
    }
    return describe(name, there ? *find(id) : *entry);
}

OperationPtr ImageStore::build(const std::string& name, ImageBuildSpec spec,
                               std::optional<Idempotency> idempotency) {
    return operations_.unless_repeated(owner, idempotency, [&] {
        check_new(name);
        check_build(spec, options_.recipes);
        OperationRequest wanted = request("image.build", name, idempotency);
        wanted.stage = "building";
        wanted.work = [this, name, spec](OperationContext& context) {
            Draft draft(store_, options_.directory, context.id());
            run_recipe(context, spec, options_.recipes, options_.agent, draft.path());
            return keep(context, draft, name);
        };
        return operations_.start(std::move(wanted));
    });
}

std::unique_ptr<ImageUpload> ImageStore::upload() {
    return std::make_unique<ImageUpload>(std::make_unique<Draft>(store_, options_.directory, ""),
                                         options_.max_bytes);
}

OperationPtr ImageStore::import(const std::string& name, std::unique_ptr<ImageUpload> upload, ImportSpec spec,
                                std::optional<Idempotency> idempotency) {
    return operations_.unless_repeated(owner, idempotency, [&] {
        check_new(name);
        check_command_line(spec.command_line);
        if (!spec.format.empty() && !disk_format_from_word(spec.format))
            throw Error{Code::invalid, fmt::format("field 'format' must not be '{}'", spec.format),
                        "raw, qcow2, tar, tar.gz and tar.zst can be imported"};
        EntryPtr kernel_from;
        try {
            kernel_from = find(spec.kernel_from);
        } catch (const Error& error) {
            throw Error{Code::invalid, fmt::format("field 'kernel_from': {}", error.message()),
                        "a disk needs the kernel of an image that has been built here"};
        }
        OperationRequest wanted = request("image.import", name, idempotency);
        wanted.stage = "importing";
        wanted.work = [this, name, spec, kernel_from, held = std::shared_ptr<ImageUpload>(std::move(upload))](
                          OperationContext& context) mutable {
            const auto mine = std::move(held);  // gone with the work, and not with the operation's record
            return run_import(context, *mine, name, spec, kernel_from);
        };
        return operations_.start(std::move(wanted));
    });
}

Value ImageStore::run_import(OperationContext& context, ImageUpload& upload, const std::string& name,
                             const ImportSpec& spec, const EntryPtr& kernel_from) {
    context.check();
    Draft& draft = *upload.draft_;
    const fs::path source = draft.path() / "upload";
    const fs::path disk = draft.path() / disk_file;
    upload.writer_.finish();
    upload.file_.reset();
    const DiskFormat format = format_of(source, spec.format);
    verify(kernel_from->row.id, *kernel_from);
    import_disk(context, source, format, disk, options_.max_bytes);
    for (const char* file : {kernel_file, initramfs_file})
        copy_image_file(path_of(kernel_from->row.id) / file, draft.path() / file);

    ImageManifest manifest;
    manifest.recipe = "import";
    manifest.arguments = Value::object({{"format", word_of(format)}, {"kernel_from", kernel_from->row.id}});
    manifest.created = now_rfc3339();
    manifest.agent = kernel_from->manifest.agent;
    manifest.kernel = kernel_from->manifest.kernel;
    const bool archive = format != DiskFormat::raw && format != DiskFormat::qcow2;
    manifest.command_line = !spec.command_line.empty() ? spec.command_line
                            : archive                  ? without_init(kernel_from->manifest.command_line)
                                                       : kernel_from->manifest.command_line;
    manifest.files = kernel_from->manifest.files;
    const std::int64_t total = file_stamp(disk).value_or(FileStamp{}).bytes;
    manifest.files[disk_file] = file_sha256(disk, [&](std::uint64_t done) {
        context.check();
        context.progress({"computing the hash", {}, static_cast<std::int64_t>(done), total});
    });
    try {
        write_file_atomic(draft.path() / manifest_file, to_json(encode(manifest)), 0640);
    } catch (const std::system_error& error) {
        throw error_from_errno(error.code().value(), "cannot write the image's manifest");
    }
    return keep(context, draft, name);
}

OperationPtr ImageStore::remove(const std::string& name, std::optional<Idempotency> idempotency) {
    return operations_.unless_repeated(owner, idempotency, [&] {
        static_cast<void>(find(name));
        OperationRequest wanted = request("image.delete", name, idempotency);
        wanted.stage = "deleting";
        wanted.timeout = remove_timeout;
        wanted.work = [this, name](OperationContext& context) { return run_remove(context, name); };
        return operations_.start(std::move(wanted));
    });
}

Value ImageStore::run_remove(OperationContext& context, const std::string& name) {
    const EntryPtr entry = find(name);
    const std::string id = entry->row.id;
    const std::lock_guard held(directories_);
    std::int64_t row = 0;
    store_.transact([&](Transaction& transaction) {
        row = 0;
        std::size_t names = 0;
        bool tagged = false;
        for (const ImageTagRow& tag : transaction.image_tags()) {
            names += tag.image == id ? 1 : 0;
            tagged = tagged || (tag.image == id && tag.name == name);
        }
        const bool last = !tagged || names == 1;  // by its id: with all its names
        if (!tagged && names > 1)
            throw Error{Code::conflict, fmt::format("the image {} has {} names", id, names),
                        "delete it by these"};
        const auto users = transaction.image_users(id);
        if (last && !users.empty()) {
            std::vector<std::string> names_of_users;
            for (const std::string& user : users)
                names_of_users.push_back(options_.instance_name ? options_.instance_name(user) : user);
            throw Error{Code::conflict, fmt::format("image '{}' is used by {}", name, joined(names_of_users)),
                        "destroy these first"};
        }
        for (const ImageTagRow& tag : transaction.image_tags())
            if (tag.image == id && (tag.name == name || !tagged))
                transaction.delete_image_tag(owner, tag.name);
        if (last) {
            transaction.delete_image(id);
            row = transaction.insert_journal(image_files_record(path_of(id).filename(), context.id()));
        }
        transaction.after_commit([&, last] {
            const auto known = known_.lock();
            std::erase_if(known->tags, [&](const auto& each) {
                return each.second.image == id && (last || each.first == name);
            });
            if (!last) return;
            known->images.erase(id);
            for (const char* file : {disk_file, kernel_file, initramfs_file})
                known->verified.erase(path_of(id) / file);
        });
    });
    if (row != 0) {
        MINIONS_FAILPOINT("image.remove.before");
        remove_image_directory(options_.directory, path_of(id).filename());
        MINIONS_FAILPOINT("image.remove.after");
        store_.transact([&](Transaction& transaction) { transaction.delete_journal(row); });
    }
    return Value::object({{"message", fmt::format("image '{}' deleted", name)}});
}

}  // namespace minions::core
