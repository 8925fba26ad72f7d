/* GET, POST, DELETE /v1/subscriptions: scopes to be kept in sync. */
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/control.h"
#include "daemon/json.h"
#include "daemon/sources.h"

struct list_call {
	struct control_call call;
	struct store_subscriptions op;
};

struct change_call {
	struct control_call call;
	struct store_subscription_set op;
	struct scope scope;
	enum store_subscription_change change;
};

/* Why the last run did not confirm it. */
static const char *error_of(const struct discovery_subscription_status *s)
{
	const struct discovery_report *r = &s->report;
	bool silent = r->answer == DISCOVERY_UNCONFIRMED || r->answer == DISCOVERY_UNANSWERED;

	if (silent && r->last_error < 0)
		return err_str(r->last_error);
	if (r->status < 0)
		return err_str(r->status);
	if (!silent)
		return "";
	if (r->peers.asked > 0)
		return "no peer answered";
	return r->peers.left_alone > 0 ? "all known peers are left alone after failures" :
					 "no peer is known that could be asked";
}

static uint64_t time_ago_s(uint64_t ago_ms)
{
	uint64_t now_s = (uint64_t)time(NULL);

	return now_s - MIN(now_s, ago_ms / 1000);
}

/* What the scheduler knows of it; the store has the rest. */
static void add_status(json_t *o, const struct discovery *d, const struct scope *scope)
{
	struct discovery_subscription_status s;

	if (!discovery_subscription_status(d, scope, &s)) {
		json_object_set_new(o, "state", json_string("loading"));
		return;
	}
	json_object_set_new(o, "state", json_string(s.state));
	json_object_set_new(o, "why", json_string(s.why != NULL ? s.why : ""));
	json_object_set_new(o, "next_in_ms", json_integer((json_int_t)s.next_in_ms));
	json_object_set_new(o, "failures", json_integer(s.failures));
	json_object_set_new(o, "overdue", json_boolean(s.overdue));
	json_object_set_new(o, "ran", json_boolean(s.ran));
	if (!s.ran)
		return;
	json_object_set_new(o, "last_outcome", json_string(discovery_outcome_name(s.outcome)));
	json_object_set_new(o, "last_error", json_string(error_of(&s)));
	json_object_set_new(o, "last_ago_ms", json_integer((json_int_t)s.ended_ago_ms));
	json_object_set_new(o, "last_try", json_time(time_ago_s(s.ended_ago_ms)));
	control_add_answer(o, &s.report);
	json_object_set_new(o, "behind",
			    json_pack("{s:I, s:I, s:I}", "known",
				      (json_int_t)(s.commits_here + s.report.peers.commits_behind),
				      "missing", (json_int_t)s.report.peers.commits_behind,
				      "missing_blobs", (json_int_t)s.blobs_missing));
}

static void on_list(struct store_subscriptions *op, int status)
{
	struct list_call *q = container_of(op, struct list_call, op);
	json_t *list = json_array();

	for (size_t i = 0; status == 0 && i < op->count; i++) {
		const struct store_subscription *s = &op->list[i];

		json_t *o = json_pack("{s:o, s:s, s:b, s:o, s:o}", "iri",
				      json_iri(&s->scope.space, s->scope.path), "kind",
				      scope_kind_name(s->scope.kind), "history", s->history,
				      "added", json_time(s->added_s), "last_ok",
				      json_time(s->last_ok_s));

		add_status(o, q->call.daemon->discovery, &s->scope);
		(void)json_array_append_new(list, o);
	}
	if (status < 0) {
		json_decref(list);
		control_failed(q->call.request, status);
	} else {
		control_reply(q->call.request, json_pack("{s:o}", "subscriptions", list));
	}
	store_subscriptions_fini(op);
	control_call_free(&q->call);
}

static void get_list(void *data, struct http_request *r)
{
	struct list_call *q = control_call_new(data, r, sizeof(*q));
	struct op_env env = control_env(control_daemon(data), CONTROL_TIMEOUT_MS);

	if (q == NULL)
		return;
	q->call.op = &q->op.op;
	store_subscriptions_start(&q->op, &env, q->call.daemon->store, on_list);
}

static void on_changed(struct store_subscription_set *op, int status)
{
	struct change_call *q = container_of(op, struct change_call, op);

	if (status == 0 && op->changed) {
		struct discovery *d = q->call.daemon->discovery;

		if (q->change == STORE_UNSUBSCRIBE)
			discovery_subscription_removed(d, &q->scope);
		else
			discovery_subscription_added(d, &q->scope,
						     q->change == STORE_SUBSCRIBE_HISTORY);
		sources_changed(q->call.daemon->sources);
	}
	if (status == 0)
		control_reply(q->call.request, json_pack("{s:b}", "changed", op->changed));
	else
		control_failed(q->call.request, status);
	store_subscription_set_fini(op);
	control_call_free(&q->call);
}

static enum store_subscription_change kind_of_change(struct http_request *r)
{
	const char *history = http_request_param(r, "history");

	if (http_request_method(r) != HTTP_POST_)
		return STORE_UNSUBSCRIBE;
	return history != NULL && strcmp(history, "1") == 0 ? STORE_SUBSCRIBE_HISTORY :
							      STORE_SUBSCRIBE;
}

static void change(void *data, struct http_request *r)
{
	struct op_env env = control_env(control_daemon(data), CONTROL_TIMEOUT_MS);
	struct change_call *q;
	enum scope_kind kind;
	struct iri iri;

	if (!control_kind(r, http_request_param(r, "kind"), &kind) ||
	    !control_iri(r, http_request_param(r, "iri"), &iri))
		return;
	q = control_call_new(data, r, sizeof(*q));
	if (q == NULL)
		return;
	scope_of_iri(&iri, kind, &q->scope);
	q->change = kind_of_change(r);
	q->call.op = &q->op.op;
	store_subscription_set_start(&q->op, &env, q->call.daemon->store, q->change, &q->scope,
				     on_changed);
}

static void on_request(void *data, struct http_request *r)
{
	if (http_request_method(r) == HTTP_GET_)
		get_list(data, r);
	else
		change(data, r);
}

int control_subscription_routes(struct control *c, struct http_server *s)
{
	return http_route(s, HTTP_GET_ | HTTP_POST_ | HTTP_DELETE_, "/v1/subscriptions",
			  "what is kept in sync (JSON)", on_request, c);
}
