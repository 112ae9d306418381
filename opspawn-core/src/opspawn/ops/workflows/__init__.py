"""Workflows: definitions in YAML or JSON, checked when they are loaded and run through the run context."""

from opspawn.ops.workflows.interpreter import run_workflow
from opspawn.ops.workflows.loader import load_workflow
from opspawn.ops.workflows.template import workflow_schema
from opspawn.ops.workflows.workflow import Workflow

__all__ = ["Workflow", "load_workflow", "run_workflow", "workflow_schema"]
