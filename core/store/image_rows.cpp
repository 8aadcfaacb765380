#include "core/store/transaction_impl.hpp"

namespace minions::core {

namespace {
using Text = std::string;
}

void Transaction::insert_image(const ImageRow& row) {
    impl_.sql->command("INSERT OR IGNORE INTO images (id, created_at, manifest) VALUES (?, ?, ?)", row.id,
                       row.created_at, row.manifest);
}

std::vector<ImageRow> Transaction::images() {
    std::vector<ImageRow> rows;
    for (auto& [id, created_at, manifest] : impl_.sql->query<Text, Text, Text>(
             "SELECT id, created_at, manifest FROM images ORDER BY created_at, id"))
        rows.push_back({std::move(id), std::move(created_at), std::move(manifest)});
    return rows;
}

void Transaction::delete_image(std::string_view id) {
    impl_.sql->command("DELETE FROM images WHERE id = ?", id);
}

void Transaction::insert_image_tag(const ImageTagRow& row) {
    impl_.sql->command("INSERT INTO image_tags (owner, name, image, created_at) VALUES (?, ?, ?, ?)",
                       row.owner, row.name, row.image, row.created_at);
}

std::vector<ImageTagRow> Transaction::image_tags() {
    std::vector<ImageTagRow> rows;
    for (auto& [owner, name, image, created_at] : impl_.sql->query<Text, Text, Text, Text>(
             "SELECT owner, name, image, created_at FROM image_tags ORDER BY owner, name"))
        rows.push_back({std::move(owner), std::move(name), std::move(image), std::move(created_at)});
    return rows;
}

void Transaction::delete_image_tag(std::string_view owner, std::string_view name) {
    impl_.sql->command("DELETE FROM image_tags WHERE owner = ? AND name = ?", owner, name);
}

std::optional<std::string> Transaction::image_of(std::string_view instance) {
    auto rows =
        impl_.sql->query<Text>("SELECT image FROM image_uses WHERE instance = ?", std::string(instance));
    if (rows.empty()) return std::nullopt;
    return std::move(std::get<0>(rows.front()));
}

void Transaction::insert_image_use(std::string_view instance, std::string_view image) {
    impl_.sql->command("INSERT INTO image_uses (instance, image) VALUES (?, ?)", instance, image);
}

void Transaction::delete_image_use(std::string_view instance) {
    impl_.sql->command("DELETE FROM image_uses WHERE instance = ?", instance);
}

std::vector<std::string> Transaction::image_users(std::string_view image) {
    std::vector<std::string> instances;
    for (auto& [instance] : impl_.sql->query<Text>(
             "SELECT instance FROM image_uses WHERE image = ? ORDER BY instance", std::string(image)))
        instances.push_back(std::move(instance));
    return instances;
}

}  // namespace minions::core
