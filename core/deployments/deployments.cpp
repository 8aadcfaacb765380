#include "core/deployments/deployments.hpp"

#include "core/deployments/build_slots.hpp"
#include "core/deployments/deploy_job.hpp"
#include "core/deployments/dockerfile.hpp"
#include "core/deployments/log_file.hpp"
#include "core/deployments/probe.hpp"
#include "core/store/ids.hpp"

#include <minions/base/files.hpp>
#include <minions/base/sync.hpp>

#include <fmt/format.h>

#include <system_error>
#include <unordered_map>

namespace minions::core {
namespace {

constexpr std::size_t max_known_hosts_bytes = std::size_t{1} << 20U;

Error no_container(const std::string& name) {
    return Error(Code::not_found, fmt::format("container '{}' not found", name));
}

void require_setting(bool good, const char* message, const char* cure) {
    if (!good) throw Error(Code::invalid, message, cure);
}

SecretBytes read_known_hosts(const DeploymentOptions& options) {
    try {
        if (!options.known_hosts.empty()) {
            return SecretBytes(read_file(options.known_hosts.string(), max_known_hosts_bytes));
        }
    } catch (const std::system_error&) {  // NOLINT(bugprone-empty-catch): told below
    }
    throw Error(Code::invalid, "field 'repo_url' uses ssh, and this daemon knows the key of no ssh server",
                "let the operator put host keys into the file deployments.known_hosts, or use https");
}

/// Why a runtime cannot build now; empty if it can.
std::string why_not(const Runtimes& runtimes, const RuntimeHandle& runtime) {
    if (runtime.build == nullptr) return "it cannot build images";
    const Health health = runtimes.health(runtime);
    if (!health.healthy) return health.reason.empty() ? "it is not healthy" : health.reason;
    const auto missing = health.missing.find(BuildFacet::facet);
    return missing == health.missing.end() ? std::string() : missing->second;
}

}  // namespace

struct Deployments::Impl {
    Impl(Store& store_, Operations& operations_, Instances& instances_, Runtimes& runtimes_,
         DeploymentOptions options_)
        : store(store_),
          operations(operations_),
          instances(instances_),
          runtimes(runtimes_),
          options(std::move(options_)),
          logs(options.state_dir / "deployments", options.max_log_bytes, options.logs_kept),
          slots(options.max_parallel),
          pending(options.max_pending) {}

    Store& store;
    Operations& operations;
    Instances& instances;
    Runtimes& runtimes;
    const DeploymentOptions options;
    DeploymentLogs logs;
    BuildSlots slots;
    BuildSlots pending;  ///< a place for each deployment that waits or is under way
    /// Deployment id → instance id, for those that were looked up: never changes once set.
    Sync<std::unordered_map<std::string, std::string>> instance_of;

    const RuntimeHandle& runtime() const;
    bool is_deployment(const InstanceView& view);
    InstanceViewPtr find(const std::string& owner, const std::string& container_name);
    void stop(OperationContext& context, const std::string& id, bool remove);
    DeploySecrets read_secrets(DeployRequest& request, const RepoUrl& url) const;
    std::shared_ptr<BuildSlots::Slot> take_place();

    /// Runs a call that needs the engine; the engine having gone meanwhile is `not_implemented`, as before
    /// it.
    template <class Fn>
    auto with_engine(const std::string& name, Fn&& fn) {
        try {
            return fn();
        } catch (const Error& error) {
            if (error.code() != Code::unavailable) throw;
            throw Error(Code::not_implemented,
                        fmt::format("the runtime '{}' is away: {}", name, error.message()), error.hint(),
                        true);
        }
    }
};

const RuntimeHandle& Deployments::Impl::runtime() const {
    if (!options.runtime.empty()) {
        const RuntimeHandle* found = runtimes.find(options.runtime);
        const std::string why = found == nullptr ? "it is not loaded" : why_not(runtimes, *found);
        if (why.empty()) return *found;
        throw Error(Code::not_implemented,
                    fmt::format("the runtime '{}' cannot run deployments: {}", options.runtime, why),
                    "the setting deployments.runtime names it", true);
    }
    std::string reasons;
    for (const RuntimeHandle* candidate : runtimes.all()) {
        if (candidate->build == nullptr) continue;
        const std::string why = why_not(runtimes, *candidate);
        if (why.empty()) return *candidate;
        reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", candidate->name, why);
    }
    if (reasons.empty()) {
        throw Error(Code::not_implemented, "no loaded runtime can build and run containers",
                    "load one, such as docker, by the setting plugins.enabled");
    }
    throw Error(Code::not_implemented, "no container runtime is healthy: " + reasons, {}, true);
}

bool Deployments::Impl::is_deployment(const InstanceView& view) {
    const auto label = view.row.spec.labels.find(deployment_label);
    if (label == view.row.spec.labels.end()) return false;
    {
        const auto known = instance_of.lock();
        if (const auto found = known->find(label->second); found != known->end()) {
            return found->second == view.row.id;
        }
    }
    const auto row =
        store.transact([&](Transaction& transaction) { return transaction.deployment(label->second); });
    if (!row || row->instance.empty()) return false;
    instance_of.lock()->emplace(row->id, row->instance);
    return row->instance == view.row.id;
}

InstanceViewPtr Deployments::Impl::find(const std::string& owner, const std::string& container_name) {
    check_name(container_name, "container_name");
    runtime();
    InstanceViewPtr view;
    try {
        view = instances.get({container_name, owner});
    } catch (const Error& error) {
        if (error.code() != Code::not_found) throw;
    }
    if (!view || !is_deployment(*view)) throw no_container(container_name);
    return view;
}

void Deployments::Impl::stop(OperationContext& context, const std::string& id, bool remove) {
    const auto view = instances.find(id);
    if (!view) return;  // what was under way before has removed it
    with_engine(view->row.runtime, [&] {
        if (allowed(Action::stop, view->status)) {
            try {
                StopOptions polite;
                polite.grace = options.stop_grace;
                instances.stop_within(context, id, polite);
            } catch (const Error& error) {
                if (error.code() != Code::wrong_state) throw;  // it ended by itself meanwhile
            }
        }
        if (!remove) return;
        context.stage("destroying");
        instances.destroy_within(context, id);
    });
}

DeploySecrets Deployments::Impl::read_secrets(DeployRequest& request, const RepoUrl& url) const {
    DeploySecrets secrets;
    // The key is read whatever the scheme: a bad path is told, and not silently ignored.
    if (request.ssh_key_path) {
        auto key = read_key(*request.ssh_key_path, options.key_dir);
        if (url.scheme == "ssh") secrets.key.emplace(std::move(key));
    }
    if (url.scheme == "ssh") secrets.known_hosts.emplace(read_known_hosts(options));
    if (request.auth_token) {
        if (url.scheme == "https" || url.scheme == "http") secrets.token.emplace(*request.auth_token);
        SecretBytes::wipe(*request.auth_token);
        request.auth_token.reset();
    }
    return secrets;
}

std::shared_ptr<BuildSlots::Slot> Deployments::Impl::take_place() {
    auto place = pending.try_acquire();
    if (!place)
        throw Error(
            Code::too_many_requests,
            fmt::format("as many deployments wait or are under way as may (deployments.max_pending = {})",
                        options.max_pending),
            "try again when others have ended, or raise deployments.max_pending", true);
    return std::make_shared<BuildSlots::Slot>(std::move(*place));
}

Deployments::Deployments(Store& store, Operations& operations, Instances& instances, Runtimes& runtimes,
                         DeploymentOptions options) {
    check_python_image(options.python_image);
    if (!options.pip_index_url.empty()) check_pip_index_url(options.pip_index_url);
    require_setting(options.max_parallel > 0,
                    "setting 'deployments.max_concurrent_builds' must be at least 1", "");
    require_setting(options.key_dir.empty() || options.key_dir.is_absolute(),
                    "setting 'deployments.key_dir' must be an absolute path", "");
    impl_ = std::make_unique<Impl>(store, operations, instances, runtimes, std::move(options));
}

Deployments::~Deployments() = default;

std::vector<std::string> Deployments::recover() {
    auto complaints = remove_abandoned_directories(impl_->store);
    impl_->store.transact([](Transaction& transaction) {
        for (auto row : transaction.unfinished_deployments()) {
            row.status = "failed";
            row.finished_at = now_rfc3339();
            row.error =
                encode_error(Error(Code::failed, "the daemon ended while it deployed", "deploy again"));
            transaction.update_deployment(row);
        }
    });
    impl_->logs.prune();
    return complaints;
}

OperationPtr Deployments::deploy(DeployRequest request, const std::string& owner,
                                 std::optional<Idempotency> idempotency) {
    if (idempotency) {
        if (auto known = impl_->operations.repeated(owner, *idempotency)) return known;
    }
    const auto& options = impl_->options;
    auto url = check_request(request, options);
    auto secrets = impl_->read_secrets(request, url);
    const RuntimeHandle& runtime = impl_->runtime();
    const auto place = impl_->take_place();

    DeploymentRow row;
    row.id = new_id();
    row.owner = owner;
    row.agent_name = request.agent_name;
    row.repo_url = url.text();
    row.branch = request.branch;
    row.status = "deploying";
    row.stage = "queued";
    row.created_at = now_rfc3339();
    row.request = public_request(request);

    OperationRequest operation;
    operation.kind = "deployment.deploy";
    operation.subject = row.id;
    operation.owner = owner;
    operation.stage = row.stage;
    operation.pool = "deployments";
    operation.timeout = options.queue_timeout + options.clone_timeout + options.build_timeout +
                        options.start_window + std::chrono::minutes(1);
    operation.idempotency = std::move(idempotency);
    operation.prepare = [row](Transaction& transaction) { transaction.insert_deployment(row); };
    const auto job = std::make_shared<DeployJob>(
        DeployServices{impl_->store, impl_->instances, options, impl_->logs, impl_->slots}, row,
        std::move(request), std::move(url), std::move(secrets), runtime, impl_->logs.create(row.id));
    operation.work = [job, place](OperationContext& context) { return job->run(context); };
    operation.finished = [job](Transaction& transaction, const OperationRow& ended) {
        job->finish(transaction, ended);
    };
    return impl_->operations.start(std::move(operation));
}

Value Deployments::list(const std::string& owner, bool all) const {
    impl_->runtime();
    Value result = Value::array();
    ListQuery query;
    query.owner = owner;
    for (const auto& view : impl_->instances.views(query)) {
        if (view->status == Status::creating || (!all && view->status == Status::stopped)) continue;
        if (!impl_->is_deployment(*view)) continue;
        Value entry = container_document(*view);
        entry.set("created", view->row.created_at);
        result.push(std::move(entry));
    }
    return result;
}

OperationPtr Deployments::stop(const std::string& owner, const std::string& container_name, bool remove,
                               std::optional<Idempotency> idempotency) {
    return impl_->operations.unless_repeated(owner, idempotency, [&] {
        const auto view = impl_->find(owner, container_name);
        OperationRequest request;
        request.kind = remove ? "deployment.remove" : "deployment.stop";
        request.subject = container_name;
        request.owner = owner;
        request.stage = "stopping";
        request.instance = view->row.id;
        request.pool = view->row.runtime;
        request.rank = remove ? Rank::destroy : Rank::normal;
        request.join = true;
        request.timeout = impl_->options.stop_grace + std::chrono::minutes(2);
        request.idempotency = idempotency;
        request.work = [impl = impl_.get(), id = view->row.id, container_name,
                        remove](OperationContext& context) {
            impl->stop(context, id, remove);
            return Value::object({{"stopped", container_name}, {"removed", remove}});
        };
        return impl_->operations.start(std::move(request));
    });
}

Value Deployments::health(const std::string& owner, const std::string& container_name,
                          const std::string& path, CallLimits limits) {
    check_health_path(path, "path");
    const auto view = impl_->find(owner, container_name);
    InstanceFacts facts;
    try {
        facts = impl_->with_engine(view->row.runtime, [&] {
            return impl_->instances.inspect({container_name, owner}, limits);
        });
    } catch (const Error& error) {
        if (error.code() == Code::not_found) throw no_container(container_name);
        throw;
    }
    Value probe = Value::object({{"status_code", nullptr}, {"error", "the container is not running"}});
    if (facts.status == Status::running) {
        const auto& wanted = view->row.spec.ports;
        const auto port =
            wanted.empty()
                ? facts.ports.end()
                : facts.ports.find(fmt::format("{}/{}", wanted.front().port, wanted.front().protocol));
        if (port == facts.ports.end()) {
            probe.set("error", "the container publishes no port");
        } else {
            const auto until = std::min(limits.deadline, deadline_in(impl_->options.probe_timeout));
            probe = probe_http({wanted.front().address, static_cast<std::uint16_t>(port->second), path},
                               until, limits.cancel_fd);
        }
    }
    return Value::object({{"container_status", container_status(facts.status)},
                          {"health_status", facts.health.value_or("none")},
                          {"http_probe", std::move(probe)}});
}

void Deployments::read_log(const std::string& owner, const std::string& id, bool follow, int cancel_fd,
                           const std::function<void(std::string_view)>& sink) {
    const auto row =
        impl_->store.transact([&](Transaction& transaction) { return transaction.deployment(id); });
    if (!row || row->owner != owner) {
        throw Error(Code::not_found, fmt::format("there is no log of a deployment '{}'", id));
    }
    impl_->logs.read(row->id, follow, cancel_fd, sink);
}

}  // namespace minions::core
