"""Assembles the state machine. The diagram in docs/how-it-works/graph.md is this graph's `draw_mermaid`."""

from typing import Any

from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from pada_agent.graph.adapters import Connect
from pada_agent.graph.batch_rounds import count_batches_at_once
from pada_agent.graph.node_binding import Node, bind_node, in_thread, using, using_async
from pada_agent.graph.nodes import (
    augmenting,
    branches,
    collecting_errors,
    evaluating,
    fine_tuning,
    finishing,
    pattern_analysis,
    reviews,
    rounds,
    synthesis,
)
from pada_agent.graph.nodes.prepare import make_prepare
from pada_agent.graph.routing import (
    fan_out_batches,
    route_after_augmenting,
    route_after_cost,
    route_after_evaluation,
    route_after_quality_control,
    route_after_review,
)
from pada_agent.graph.run_context import RunContext, find_settings
from pada_agent.graph.state import (
    AnalysisOutput,
    AnalysisState,
    BatchOutput,
    BatchState,
    BranchInput,
    BranchOutput,
    BranchState,
    PartialState,
    PrepareState,
    RoundOutput,
    RoundState,
    RunInput,
    RunOutput,
    RunState,
    TopUpOutput,
)

Compiled = CompiledStateGraph[Any, Any, Any, Any]


def build_graph(connect: Connect) -> StateGraph[Any, Any, Any, Any]:
    """The whole loop, not yet compiled, so that the caller can choose the checkpointer.

    Args:
        connect: turns settings into adapters. Every node calls it.
    """
    builder = StateGraph(RunState, context_schema=RunContext, input_schema=RunInput, output_schema=RunOutput)
    builder.add_node("prepare", make_prepare(connect), input_schema=PrepareState)
    builder.add_node("evaluate_untouched", bind_node("evaluate_untouched", evaluating.evaluate_untouched, connect))
    builder.add_node("review_cost", bind_node("review_cost", reviews.review_cost, connect))
    builder.add_node("fine_tune", bind_node("fine_tune", fine_tuning.fine_tune, connect))
    builder.add_node("evaluate", bind_node("evaluate", evaluating.evaluate, connect))
    builder.add_node("collect_errors", bind_node("collect_errors", collecting_errors.collect_errors, connect))
    builder.add_node("generalization_branch", build_generalization_branch(connect))
    builder.add_node("training_error_branch", build_training_error_branch(connect))
    builder.add_node("top_up", build_top_up(connect))
    builder.add_node("augment", bind_node("augment", augmenting.augment, connect))
    builder.add_node("review_data", bind_node("review_data", reviews.review_data, connect))
    builder.add_node("finish", bind_node("finish", finishing.finish, connect))
    builder.add_edge(START, "prepare")
    builder.add_edge("prepare", "evaluate_untouched")
    builder.add_edge("evaluate_untouched", "review_cost")
    builder.add_conditional_edges("review_cost", route_after_cost)
    builder.add_edge("fine_tune", "evaluate")
    builder.add_conditional_edges("evaluate", route_after_evaluation)
    builder.add_edge("collect_errors", "generalization_branch")
    builder.add_edge("collect_errors", "training_error_branch")
    builder.add_edge(["generalization_branch", "training_error_branch"], "augment")
    builder.add_conditional_edges("augment", route_after_augmenting)
    builder.add_edge("top_up", "augment")
    builder.add_conditional_edges("review_data", route_after_review)
    builder.add_edge("finish", END)
    return builder


def build_generalization_branch(connect: Connect) -> Compiled:
    """The paper's generalization branch: patterns in validation failures, a strategy for each, and data for each strategy."""
    builder = StateGraph(BranchState, input_schema=BranchInput, output_schema=BranchOutput)
    builder.add_node("pattern_analysis", build_pattern_analysis(connect))
    builder.add_node("review_strategies", bind_node("review_strategies", reviews.review_strategies, connect))
    builder.add_node("leak_guard", bind_node("leak_guard", branches.leak_guard, connect))
    builder.add_node("pattern_synthesis", run_round(synthesis := build_synthesis(connect), connect))
    builder.add_edge(START, "pattern_analysis")
    builder.add_edge("pattern_analysis", "review_strategies")
    builder.add_edge("review_strategies", "leak_guard")
    builder.add_edge("leak_guard", "pattern_synthesis")
    builder.add_edge("pattern_synthesis", END)
    return compile_drawn(builder, "pattern_synthesis", synthesis)


def build_training_error_branch(connect: Connect) -> Compiled:
    """The branch that writes data based on training rows that the student answers wrongly."""
    plan = branches.training_errors
    return _build_planned_round("training_errors", plan, "error_synthesis", RoundOutput, connect, beside_analysis=True)


def build_top_up(connect: Connect) -> Compiled:
    """A round that replaces rejected rows, starting from other source rows."""
    return _build_planned_round("plan_top_up", branches.plan_top_up, "top_up_synthesis", TopUpOutput, connect)


def _build_planned_round(
    first: str, plan: Node, second: str, output: type, connect: Connect, *, beside_analysis: bool = False
) -> Compiled:
    """Two nodes: the first makes a round's batches, the second runs them."""
    builder = StateGraph(BranchState, input_schema=BranchInput, output_schema=output)
    builder.add_node(first, bind_node(first, plan, connect))
    synthesis = build_synthesis(connect)
    builder.add_node(second, run_round(synthesis, connect, beside_analysis=beside_analysis))
    builder.add_edge(START, first)
    builder.add_edge(first, second)
    builder.add_edge(second, END)
    return compile_drawn(builder, second, synthesis)


def build_pattern_analysis(connect: Connect) -> Compiled:
    """The three subagents of the Pattern Analysis Agent, one after the other."""
    builder = StateGraph(AnalysisState, output_schema=AnalysisOutput)
    builder.add_node("error_analysis", bind_node("error_analysis", pattern_analysis.error_analysis, connect))
    builder.add_node(
        "pattern_categorization", bind_node("pattern_categorization", pattern_analysis.pattern_categorization, connect)
    )
    builder.add_node("strategy_drafting", bind_node("strategy_drafting", pattern_analysis.strategy_drafting, connect))
    builder.add_edge(START, "error_analysis")
    builder.add_edge("error_analysis", "pattern_categorization")
    builder.add_edge("pattern_categorization", "strategy_drafting")
    builder.add_edge("strategy_drafting", END)
    return builder.compile()


def build_synthesis(connect: Connect) -> Compiled:
    """One batch: generation, exact checks, independent solving and quality control, repeated while rows are missing.

    It has no checkpoints of its own, because a run has hundreds of batches. A batch that was interrupted finds its LLM
    replies in the store.
    """
    builder = StateGraph(BatchState, output_schema=BatchOutput)
    builder.add_node("data_generation", bind_node("data_generation", synthesis.data_generation, connect))
    builder.add_node("label_verification", bind_node("label_verification", synthesis.label_verification, connect))
    builder.add_node("answer_verification", bind_node("answer_verification", synthesis.answer_verification, connect))
    builder.add_node("quality_control", bind_node("quality_control", synthesis.quality_control, connect))
    builder.add_node("record_batch", bind_node("record_batch", synthesis.record_batch, connect))
    builder.add_edge(START, "data_generation")
    builder.add_edge("data_generation", "label_verification")
    builder.add_edge("label_verification", "answer_verification")
    builder.add_edge("answer_verification", "quality_control")
    builder.add_conditional_edges("quality_control", route_after_quality_control)
    builder.add_edge("record_batch", END)
    return builder.compile(checkpointer=False)


def build_round(synthesis: Compiled) -> Compiled:
    """The batches of a round, all of them independent of each other."""
    builder = StateGraph(RoundState)
    builder.add_node("batch", run_whole(synthesis))
    builder.add_conditional_edges(START, fan_out_batches, ["batch"])
    builder.add_edge("batch", END)
    return builder.compile(checkpointer=False)


def run_round(synthesis: Compiled, connect: Connect, *, beside_analysis: bool = False) -> RunnableLambda[Any, Any]:
    """A node that runs the unfinished batches of a round and returns the totals of all.

    The round writes no checkpoints either. LangGraph would store a task for each batch, with all settings in each: 7 kB.
    """
    part = build_round(synthesis)

    def run(state: Any, config: RunnableConfig) -> Any:
        with using(connect, find_settings(state)) as adapters:
            opened = rounds.open_round(state, adapters)
            if opened["waiting"]:
                part.invoke(_give(state, opened), _allow_batches(state, config, beside_analysis))
            return rounds.close_round(state, adapters)

    async def arun(state: Any, config: RunnableConfig) -> Any:
        async with using_async(connect, find_settings(state)) as adapters:
            opened = await in_thread(rounds.open_round, state, adapters)
            if opened["waiting"]:
                await part.ainvoke(_give(state, opened), _allow_batches(state, config, beside_analysis))
            return await in_thread(rounds.close_round, state, adapters)

    return RunnableLambda(run, arun)


def _allow_batches(state: Any, config: RunnableConfig, beside_analysis: bool) -> RunnableConfig:
    """As many batches at once as the models allow, unless the caller has said how many. LangGraph's own number depends on the
    processors, which have little to do with calls."""
    is_analyzed = beside_analysis and state["plan"].n_pattern_rows > 0
    n = count_batches_at_once(find_settings(state).models, beside_analysis=is_analyzed)
    return {"max_concurrency": n, **without_durability(config)}


def run_whole(part: Compiled) -> RunnableLambda[Any, Any]:
    """A node that runs a subgraph without checkpoints."""

    def run(state: Any, config: RunnableConfig) -> Any:
        return part.invoke(state, without_durability(config))

    async def arun(state: Any, config: RunnableConfig) -> Any:
        return await part.ainvoke(state, without_durability(config))

    return RunnableLambda(run, arun)


def without_durability(config: RunnableConfig) -> RunnableConfig:
    """Hides the caller's `durability` setting from a subgraph, because with it LangGraph 1.2 looks for a checkpoint that was never
    written."""
    wishes = config.get("configurable", {})
    return {**config, "configurable": {key: value for key, value in wishes.items() if "durability" not in key}}


def _give(state: Any, opened: PartialState) -> PartialState:
    return {**{key: state[key] for key in RoundState.__optional_keys__ if key in state}, **opened}


def compile_drawn(builder: StateGraph[Any, Any, Any, Any], name: str, part: Compiled) -> Compiled:
    """The compiled branch, whose diagram also shows the inside of `part`. LangGraph leaves out subgraphs without checkpoints.

    The diagram uses a copy that may have checkpoints, because LangGraph 1.2 raises when it is asked for the state of a subgraph
    that may not.
    """
    compiled = builder.compile()
    compiled.nodes[name].subgraphs = [part.copy({"checkpointer": None})]
    return compiled
