#include "core/store/transaction_impl.hpp"

namespace minions::core {

namespace {

using Text = std::string;

template <class... Args>
std::vector<DeploymentRow> select_deployments(Sql& sql, const std::string& where, const Args&... args) {
    std::vector<DeploymentRow> rows;
    for (auto& [id, owner, agent_name, instance, container_name, repo_url, branch, status, stage, error,
                image, created_at, finished_at, request] :
         sql.query<Text, Text, Text, Text, Text, Text, Text, Text, Text, Text, Text, Text, Text, Text>(
             "SELECT id, owner, agent_name, instance, container_name, repo_url, branch, status, stage, error,"
             " image, created_at, finished_at, request FROM deployments " +
                 where,
             args...)) {
        DeploymentRow& row = rows.emplace_back();
        row.id = std::move(id);
        row.owner = std::move(owner);
        row.agent_name = std::move(agent_name);
        row.instance = std::move(instance);
        row.container_name = std::move(container_name);
        row.repo_url = std::move(repo_url);
        row.branch = std::move(branch);
        row.status = std::move(status);
        row.stage = std::move(stage);
        row.error = text_document(error);
        row.image = std::move(image);
        row.created_at = std::move(created_at);
        row.finished_at = text_time(std::move(finished_at));
        row.request = text_document(request);
    }
    return rows;
}

}  // namespace

void Transaction::insert_deployment(const DeploymentRow& row) {
    impl_.sql->command(
        "INSERT INTO deployments (id, owner, agent_name, instance, container_name, repo_url, branch, status,"
        " stage, error, image, created_at, finished_at, request)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        row.id, row.owner, row.agent_name, row.instance, row.container_name, row.repo_url, row.branch,
        row.status, row.stage, document_text(row.error), row.image, row.created_at,
        time_text(row.finished_at), document_text(row.request));
}

void Transaction::update_deployment(const DeploymentRow& row) {
    impl_.sql->command(
        "UPDATE deployments SET instance = ?, container_name = ?, repo_url = ?, branch = ?, status = ?,"
        " stage = ?, error = ?, image = ?, finished_at = ? WHERE id = ?",
        row.instance, row.container_name, row.repo_url, row.branch, row.status, row.stage,
        document_text(row.error), row.image, time_text(row.finished_at), row.id);
}

std::optional<DeploymentRow> Transaction::deployment(std::string_view id) {
    auto rows = select_deployments(*impl_.sql, "WHERE id = ?", id);
    if (rows.empty()) return std::nullopt;
    return std::move(rows.front());
}

std::vector<DeploymentRow> Transaction::deployments(std::string_view owner, std::string_view agent_name,
                                                    std::size_t limit) {
    return select_deployments(*impl_.sql,
                              "WHERE owner = ? AND (? = '' OR agent_name = ?) ORDER BY number DESC LIMIT ?",
                              owner, agent_name, agent_name, limit);
}

std::vector<DeploymentRow> Transaction::unfinished_deployments() {
    return select_deployments(*impl_.sql, "WHERE finished_at = '' ORDER BY number");
}

void Transaction::delete_deployment(std::string_view id) {
    impl_.sql->command("DELETE FROM deployments WHERE id = ?", id);
}

}  // namespace minions::core
