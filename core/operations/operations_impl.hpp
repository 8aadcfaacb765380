#pragma once

#include "core/operations/operations.hpp"
#include "core/operations/pool.hpp"

#include <condition_variable>
#include <deque>
#include <map>
#include <thread>
#include <unordered_map>

/// Inside of core/operations only.
namespace minions::core {

/// An operation with its work, until it has finished.
struct Job {
    OperationPtr operation;
    OperationRequest request;
    std::vector<std::string> claims;  ///< ids of instances; changed under the lock of State
    bool committed = false;
    bool posted = false;
    bool over = false;  ///< its work has returned, and everything that it held is gone
};
using JobPtr = std::shared_ptr<Job>;

/// The threads of one pool of operations.
struct Threads {
    explicit Threads(std::size_t count) : ordinary(count), urgent(count) {}
    Pool ordinary;
    Pool urgent;  ///< for what ends other operations, and for those that are to end before they have begun
};

struct Operations::Impl {
    /// Who has an instance, and who comes next.
    struct Claim {
        JobPtr current;
        std::deque<JobPtr> waiting;
    };
    struct State {
        std::unordered_map<std::string, JobPtr> live;
        std::unordered_map<std::string, Claim> claims;
        std::map<std::string, Threads> pools;
        bool draining = false;
        bool stopping = false;
        std::size_t starts = 0;
        std::size_t finishes = 0;
    };

    Impl(Operations& owner, Store& store_in, OperationsOptions options_in);
    ~Impl();

    /// Takes the instance for the job or queues it there; returns the job to join, which may not be committed
    /// yet, or null. Throws busy.
    JobPtr take_instance(State& state, const JobPtr& job);
    JobPtr enter(const JobPtr& job);
    OperationPtr commit_start(const JobPtr& job);
    void cancel_outranked(const JobPtr& job);
    void drop(const JobPtr& job);
    void release_claims(State& state, const JobPtr& job);
    void post_if_ready(State& state, const JobPtr& job);
    void run(const JobPtr& job);
    OperationRow outcome(const Operation& operation, Value result, const std::optional<Error>& failure);
    bool finish(const JobPtr& job, const OperationRow& row);
    void finish_in(Transaction& transaction, const JobPtr& job, OperationRow row);
    void show_finished(const JobPtr& job, const OperationRow& row);
    void end(const JobPtr& job, bool stored);
    JobPtr live_job(const std::string& id) const;
    OperationPtr known(const std::string& id);
    void claim(const std::string& operation, const std::string& instance);
    void watch_deadlines();

    Operations& self;
    Store& store;
    MakeVmServices vm_services;
    const OperationsOptions options;
    Sync<State> state;
    std::condition_variable changed;  ///< a job came or went, or the end is near
    std::thread watchdog;
};

}  // namespace minions::core
