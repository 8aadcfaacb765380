#include "core/deployments/deploy_job.hpp"

#include "core/deployments/addresses.hpp"
#include "core/deployments/context.hpp"
#include "core/deployments/dockerfile.hpp"
#include "core/instances/release.hpp"
#include "core/store/ids.hpp"

#include <minions/base/call_pipes.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <exception>

namespace minions::core {
namespace {

constexpr std::size_t log_lines_in_errors = 20;
constexpr std::size_t max_last_words = 16 * 1024;
constexpr auto last_words_timeout = std::chrono::seconds(2);
constexpr int max_name_attempts = 600;

std::string image_tag(const DeploymentRow& row) {
    return fmt::format("minions-deployment/{}:{}", row.agent_name, row.id);
}

}  // namespace

std::string_view container_status(Status status) noexcept {
    switch (status) {
        case Status::creating:
        case Status::starting:
            return "created";
        case Status::running:
        case Status::stopping:
            return "running";
        case Status::paused:
            return "paused";
        case Status::stopped:
            return "exited";
        case Status::error:
            return "dead";
        case Status::destroying:
            return "removing";
        case Status::unknown:
            break;
    }
    return "unknown";
}

Value container_document(const InstanceView& view) {
    Value ports = Value::object();
    const bool alive =
        view.status == Status::running || view.status == Status::paused || view.status == Status::stopping;
    if (alive) {
        for (const auto& [inside, outside] : view.row.facts.ports) ports.set(inside, outside);
    }
    return Value::object({{"container_id", view.row.facts.handle.value_or(view.row.id)},
                          {"container_name", view.row.name},
                          {"status", container_status(view.status)},
                          {"ports", std::move(ports)}});
}

DeployJob::DeployJob(DeployServices services, DeploymentRow row, DeployRequest request, RepoUrl url,
                     DeploySecrets secrets, const RuntimeHandle& runtime, std::unique_ptr<DeploymentLog> log)
    : services_(services),
      row_(std::move(row)),
      request_(std::move(request)),
      url_(std::move(url)),
      secrets_(std::move(secrets)),
      runtime_(runtime),
      log_(std::move(log)) {}

Value DeployJob::run(OperationContext& operation) {
    try {
        Value result = deploy(operation);
        log_->line("deployed: " + row_.container_name);
        log_.reset();
        return result;
    } catch (...) {
        const Error error = current_error();
        secrets_ = {};
        roll_back(operation);
        log_->line("failed while " + row_.stage + ": " + error.message());
        const Error told = explained(error);
        log_.reset();
        services_.logs.prune();
        throw told;
    }
}

Value DeployJob::deploy(OperationContext& operation) {
    std::string image;
    {
        const auto queued_until =
            std::min(operation.deadline(), deadline_in(services_.options.queue_timeout));
        const auto slot = services_.slots.acquire(queued_until, operation.cancel_fd());
        enter(operation, "cloning");
        WorkDirectory work(services_.store, services_.options, operation.id(), row_.id);
        clone(operation, work.path());
        secrets_ = {};
        enter(operation, "building");
        image = build(operation, work.path() / "tree");
        work.remove();
    }
    row_.image = image;
    enter(operation, "starting");
    return start(operation, image);
}

void DeployJob::enter(OperationContext& operation, const char* stage) {
    row_.stage = stage;
    operation.check();
    services_.store.transact([&](Transaction& transaction) {
        operation.stage_in(transaction, stage);
        transaction.update_deployment(row_);
    });
}

void DeployJob::clone(OperationContext& operation, const std::filesystem::path& directory) {
    log_->line(fmt::format("cloning branch {} of {}", request_.branch, url_.text()));
    CloneRequest wanted;
    wanted.url = url_;
    wanted.branch = request_.branch;
    if (url_.scheme != "file") {
        wanted.addresses = resolve_host(url_.host, !services_.options.allow_private_addresses,
                                        operation.deadline(), operation.cancel_fd());
    }
    if (secrets_.token) wanted.token = &*secrets_.token;
    if (secrets_.key) wanted.key = &*secrets_.key;
    if (secrets_.known_hosts) wanted.known_hosts = &*secrets_.known_hosts;
    clone_repository(wanted, directory, services_.options, {operation.deadline(), operation.cancel_fd()},
                     [this](std::string_view line) { log_->line(line); });
}

std::string DeployJob::build(OperationContext& operation, const std::filesystem::path& tree) {
    std::optional<std::string> dockerfile;
    if (request_.dockerfile == DockerfileChoice::repository) {
        check_own_dockerfile(tree);
    } else {
        const auto& options = services_.options;
        dockerfile = generate_dockerfile(
            inspect_project(tree),
            DockerfileValues{options.python_image, request_.python_version, options.pip_index_url,
                             request_.expose_port, request_.health_path, services_.store.installation()});
    }
    log_->line("building the image");
    BuildSpec spec;
    spec.tag = image_tag(row_);
    spec.dockerfile = dockerfile ? generated_dockerfile_name : "Dockerfile";
    spec.labels = {{deployment_label, row_.id}, {agent_label, row_.agent_name}};
    if (services_.options.build_memory_mb > 0) spec.memory_mb = services_.options.build_memory_mb;
    if (services_.options.max_image_bytes > 0) spec.max_bytes = services_.options.max_image_bytes;

    CallPipes pipes;
    Fd log_end = pipes.collect([this](std::string_view piece) { log_->write(piece); });
    pipes.start();
    ContextStream context(tree, std::move(dockerfile), services_.options.max_clone_bytes);
    const auto timeout = services_.options.build_timeout;
    CallContext call = operation.call(runtime_.name, "", {}, deadline_in(timeout));
    const auto began = std::chrono::steady_clock::now();
    const auto observe = [&](std::string_view outcome) {
        const auto& built = services_.options.built;
        if (built) built(runtime_.name, outcome, std::chrono::steady_clock::now() - began);
    };
    try {
        const auto result = runtime_.build->build(call, spec, context.take_reader(), std::move(log_end));
        context.check();
        observe("succeeded");
        return result.image;
    } catch (const Error& error) {
        observe(error.code() == Code::cancelled ? "cancelled" : "failed");
        if (error.code() == Code::deadline && call.deadline() < operation.deadline()) {
            throw Error(Code::failed,
                        fmt::format("building the image took longer than {} s",
                                    std::chrono::duration<double>(timeout).count()),
                        "the setting deployments.build_timeout_seconds can allow more");
        }
        if (error.code() != Code::cancelled && error.code() != Code::deadline) context.check();
        throw;
    }
}

CreateRequest DeployJob::create_request(const std::string& image) const {
    CreateRequest wanted;
    wanted.owner = row_.owner;
    wanted.runtime = runtime_.name;
    wanted.spec.image = image;
    wanted.spec.command = request_.startup_cmd;
    wanted.spec.environment = container_environment(request_);
    wanted.spec.labels = {{deployment_label, row_.id}, {agent_label, row_.agent_name}};
    wanted.spec.ports = {PortSpec{request_.expose_port, "tcp", "127.0.0.1", 0}};
    return wanted;
}

Value DeployJob::start(OperationContext& operation, const std::string& image) {
    CreateRequest wanted = create_request(image);
    auto second = static_cast<long long>(std::time(nullptr));
    for (int attempt = 0;; ++attempt, ++second) {
        wanted.name = fmt::format("jules-agent-{}-{}", row_.agent_name, second);
        row_.container_name = wanted.name;
        try {
            return container_document(*create(operation, wanted));
        } catch (const Error& error) {
            // The name of this second is another deployment's, or of a container that is not ours.
            if (error.code() != Code::conflict || inserted_ || attempt == max_name_attempts) throw;
        }
    }
}

InstanceViewPtr DeployJob::create(OperationContext& operation, const CreateRequest& wanted) {
    CreateOptions options;
    options.before_acknowledge = [this](OperationContext& context, Unacknowledged& instance) {
        watch(context, instance);
    };
    options.inserted = [this, &operation](Transaction& transaction, const InstanceRow& instance) {
        give_image(transaction, operation.id(), instance);
    };
    options.undoing = [this](Transaction& transaction, const InstanceRow& instance, const Error& error) {
        const bool name_is_taken = error.code() == Code::conflict && row_.stage == "starting";
        if (name_is_taken) take_image_back(transaction, instance);
    };
    // In the commit that makes the instance live: a daemon that dies after it has deployed, and before it has
    // not.
    options.acknowledged = [&operation](Transaction& transaction, const InstanceRow& instance) {
        operation.succeed_in(transaction, container_document(*make_view(instance, "")));
    };
    return services_.instances.create_within(operation, wanted, std::move(options));
}

/// From here on the image goes with the instance: by its rollback, its destroy, and the next start.
void DeployJob::give_image(Transaction& transaction, const std::string& operation,
                           const InstanceRow& instance) {
    transaction.assign_journal(operation, instance.id);
    row_.instance = instance.id;
    transaction.update_deployment(row_);
    transaction.after_commit([this] { inserted_ = true; });
}

/// A create that failed for its name alone is undone without the image, which the next name needs.
void DeployJob::take_image_back(Transaction& transaction, const InstanceRow& instance) {
    for (auto& record : transaction.journal_of_instance(instance.id)) {
        if (record.row.kind != "image") continue;
        transaction.delete_journal(record.row.id);
        record.row.instance.clear();
        transaction.insert_journal(record);
    }
    transaction.after_commit([this] { inserted_ = false; });
}

void DeployJob::watch(OperationContext& operation, Unacknowledged& instance) {
    enter(operation, "watching");
    if (!instance.wait_for_end(std::chrono::steady_clock::now() + services_.options.start_window)) return;
    const auto facts = instance.facts();
    if (facts.status == Status::stopped && facts.exit_code == 0) return;
    const auto words = last_words(operation, instance);
    if (!words.empty()) log_->line("the container said:\n" + words);
    const std::string how = facts.status != Status::stopped
                                ? "is in the state " + std::string(word_of(facts.status))
                            : facts.exit_code ? fmt::format("ended with exit code {}", *facts.exit_code)
                                              : std::string("ended without an exit code");
    const std::string why = facts.reason ? ": " + *facts.reason : "";
    throw Error(Code::failed,
                fmt::format("the container {} within its first {} s{}{}", how,
                            std::chrono::duration<double>(services_.options.start_window).count(), why,
                            words.empty() ? "" : "\n" + words));
}

std::string DeployJob::last_words(OperationContext& operation, Unacknowledged& instance) {
    if (runtime_.logs == nullptr) return {};
    try {
        CallContext call =
            operation.call(runtime_.name, instance.instance().id, {}, deadline_in(last_words_timeout));
        std::string text;
        CallPipes pipes;
        Fd out = pipes.collect([&text](std::string_view piece) {
            text += piece;
            if (text.size() > max_last_words) text.erase(0, text.size() - max_last_words);
        });
        pipes.start();
        LogsSpec spec;
        spec.tail = static_cast<std::int64_t>(log_lines_in_errors);
        runtime_.logs->logs(call, instance.instance(), spec, std::move(out));
        pipes.finish();
        while (!text.empty() && text.back() == '\n') text.pop_back();
        return text;
    } catch (const std::exception&) {
        return {};  // the container's end is what has to be told; its words are a courtesy
    }
}

void DeployJob::roll_back(OperationContext& operation) noexcept {
    if (inserted_) return;  // the instance's rollback took the image along
    try {
        CallContext call = operation.rollback_call(runtime_.name, "");
        auto rows = services_.store.transact(
            [&](Transaction& transaction) { return transaction.journal_of_operation(operation.id()); });
        std::erase_if(rows, [&](const JournalRecord& record) {
            return !record.row.instance.empty() || record.runtime != runtime_.name;
        });
        release_rows(services_.store, runtime_, call, rows);
    } catch (const std::exception&) {
        log_->line("not everything could be undone now; it is tried again when the runtime is back");
    }
}

/// The error as the client gets it: what was tried and did not work is `failed`, whatever layer said so; what
/// says something about the request, the client's patience or the disk stays as it is.
Error DeployJob::explained(const Error& error) const {
    const auto code = error.code();
    const bool stays =
        code == Code::invalid || code == Code::cancelled || code == Code::deadline || code == Code::no_space;
    Error told(stays ? code : Code::failed, error.message(), error.hint(), error.retryable());
    if (const auto* details = error.details().if_object()) {
        for (const auto& [name, value] : *details) told.with(name, value);
    }
    told.with("stage", row_.stage);
    told.with("deployment_id", row_.id);
    if (!stays && code != Code::failed) told.with("cause", to_word(code));
    if (code != Code::invalid) told.with("log", log_->tail(log_lines_in_errors));
    return told;
}

void DeployJob::finish(Transaction& transaction, const OperationRow& ended) {
    switch (ended.status) {
        case OperationStatus::succeeded:
            row_.status = "deployed";
            break;
        case OperationStatus::cancelled:
            row_.status = "cancelled";
            break;
        case OperationStatus::failed:
        case OperationStatus::running:
            row_.status = "failed";
            break;
    }
    row_.error = ended.error;
    row_.finished_at = ended.finished_at;
    transaction.update_deployment(row_);
}

}  // namespace minions::core
