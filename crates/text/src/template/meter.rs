//! Bounds on what a chat template may cost.
//!
//! A template comes with a downloaded model, so it is not trusted: it must neither run for ever nor fill the
//! memory. Fuel bounds the number of instructions. That alone is not enough, since `{% set ns.s = ns.s ~ ns.s %}`
//! doubles a string with each turn of a loop. So the template is rewritten once, when it is loaded: every operand
//! of `+` and `~`, every product and every slice passes through the filter [`CHARGE`], which adds its size to what
//! this rendering has used and stops it at [`MAX_BYTES`]. What is printed, and what filters and methods make,
//! is charged in the same way. Text of the template itself inside a captured block (`{% set x %}...{% endset %}`,
//! macros) cannot be charged, so there the fuel is reduced by the length of the longest such piece.
//!
//! The rewriting is only `x ~ y` to `x|charge ~ y|charge`; it stays on its line, so line numbers in errors hold.

use minijinja::machinery::{self, ast};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

/// Name of the charging filter; not a name that a template would use.
pub(super) const CHARGE: &str = "_attune_charge";
/// Name of the function that `+` becomes in templates with safe text.
pub(super) const ADD: &str = "_attune_add";
/// Bytes of text that one rendering may make on the way, all intermediate strings together.
const MAX_BYTES: usize = 128 << 20;
/// Instructions of one rendering. A chat of 1,000 messages takes well below one million.
const MAX_FUEL: u64 = 20_000_000;
/// A literal piece of template text inside a captured block.
const MAX_CAPTURED_LITERAL: usize = 16 << 10;
/// A constant product such as `'-' * 80`, which the engine computes while it compiles.
const MAX_CONSTANT: u64 = 1 << 20;
/// Depth to which nested values are measured and written.
pub(super) const MAX_DEPTH: usize = 200;
/// What a list item or a number costs, whatever its content.
const ITEM_BYTES: usize = 16;

/// Bytes used so far by one rendering.
#[derive(Default)]
struct Used(usize);

/// What a template may still make.
pub(super) fn remaining(state: &State) -> usize {
    MAX_BYTES.saturating_sub(state.get_extension::<Used>().map_or(0, |used| used.0))
}

/// Adds to what this rendering has made.
pub(super) fn charge(state: &mut State, bytes: usize) -> Result<(), Error> {
    let used = state.get_or_insert_extension(Used::default());
    used.0 = used.0.saturating_add(bytes);
    if used.0 > MAX_BYTES { Err(exceeded()) } else { Ok(()) }
}

/// The error of a template that makes too much text.
pub(super) fn exceeded() -> Error {
    Error::new(ErrorKind::OutOfFuel, format!("it makes more than {MAX_BYTES} bytes of text"))
}

/// The filter [`CHARGE`]: hands its value on and charges its size.
pub(super) fn charge_value(state: &mut State, value: Value) -> Result<Value, Error> {
    let size = size(&value, remaining(state), 0);
    charge(state, size)?;
    Ok(value)
}

/// Size of a value in bytes, all strings inside it included; stops counting beyond `limit`.
pub(super) fn size(value: &Value, limit: usize, depth: usize) -> usize {
    if let Some(text) = value.as_str() {
        return text.len();
    }
    if depth > MAX_DEPTH {
        return limit.saturating_add(1);
    }
    let mut total = ITEM_BYTES;
    match value.kind() {
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            // A repeated list knows its length at once and may be far too long to walk.
            total = total.saturating_add(value.len().unwrap_or(0).saturating_mul(ITEM_BYTES));
            let is_map = value.kind() == ValueKind::Map;
            let Ok(items) = value.try_iter() else { return total };
            for item in items {
                if total > limit {
                    break;
                }
                total = total.saturating_add(size(&item, limit, depth + 1));
                if is_map && let Ok(member) = value.get_item(&item) {
                    total = total.saturating_add(size(&member, limit, depth + 1));
                }
            }
        }
        _ => {}
    }
    total
}

/// A template whose costs are charged, and the fuel that it gets.
#[derive(Debug)]
pub(super) struct Metered {
    pub(super) source: String,
    pub(super) fuel: u64,
}

/// Why a template cannot be metered.
#[derive(Debug)]
pub(super) enum MeterError {
    Syntax(Error),
    Bounds(String),
}

/// Rewrites a template so that what it makes is charged.
pub(super) fn meter(source: &str, syntax: SyntaxConfig) -> Result<Metered, MeterError> {
    let tree = machinery::parse(source, "chat_template", syntax).map_err(MeterError::Syntax)?;
    let mut walk = Walk { source, marks_safe: marks_safe(source), ..Walk::default() };
    walk.statement(&tree, false);
    if let Some(reason) = walk.refused {
        return Err(MeterError::Bounds(reason));
    }
    if walk.longest_captured > MAX_CAPTURED_LITERAL {
        return Err(MeterError::Bounds(format!(
            "a captured block holds a text of {} bytes; at most {MAX_CAPTURED_LITERAL} are allowed",
            walk.longest_captured
        )));
    }
    let fuel = match walk.longest_captured {
        0 => MAX_FUEL,
        // To print a piece takes at least three instructions of a loop.
        bytes => MAX_FUEL.min(8 * MAX_BYTES as u64 / bytes as u64),
    };
    match insert(source, walk.edits) {
        Some(source) => Ok(Metered { source, fuel }),
        None => Err(MeterError::Bounds("its expressions cannot be told apart".to_owned())),
    }
}

/// One insertion. Closing ones come before opening ones at the same offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Edit {
    /// `|charge`
    Charge,
    /// `)|charge`
    CloseAndCharge,
    /// `)`
    Close,
    /// `,` in place of `+`
    Comma,
    /// `add(`
    OpenAdd,
    /// `(`
    Open,
}

/// Applies the edits; `None` if one of them is not at the border of a character.
fn insert(source: &str, mut edits: Vec<(usize, Edit)>) -> Option<String> {
    edits.sort_unstable();
    let mut out = String::with_capacity(source.len() + edits.len() * (CHARGE.len() + 2));
    let mut from = 0;
    for (at, edit) in edits {
        out.push_str(source.get(from..at)?);
        match edit {
            Edit::Open => out.push('('),
            Edit::OpenAdd => out.extend([ADD, "("]),
            Edit::Close => out.push(')'),
            Edit::Comma => {
                out.push(',');
                from = at + 1;
                continue;
            }
            Edit::CloseAndCharge => out.extend([")|", CHARGE]),
            Edit::Charge => out.extend(["|", CHARGE]),
        }
        from = at;
    }
    out.push_str(source.get(from..)?);
    Some(out)
}

#[derive(Default)]
struct Walk<'a> {
    source: &'a str,
    /// Whether `+` may meet text marked as safe.
    marks_safe: bool,
    edits: Vec<(usize, Edit)>,
    longest_captured: usize,
    refused: Option<String>,
}

impl Walk<'_> {
    fn statements(&mut self, body: &[ast::Stmt<'_>], captured: bool) {
        for statement in body {
            self.statement(statement, captured);
        }
    }

    fn statement(&mut self, statement: &ast::Stmt<'_>, captured: bool) {
        use ast::Stmt;
        match statement {
            Stmt::Template(node) => self.statements(&node.children, captured),
            Stmt::EmitExpr(node) => self.expression(&node.expr),
            Stmt::EmitRaw(node) => {
                if captured {
                    self.longest_captured = self.longest_captured.max(node.raw.len());
                }
            }
            Stmt::ForLoop(node) => {
                self.expression(&node.iter);
                self.optional(node.filter_expr.as_ref());
                self.statements(&node.body, captured || node.recursive);
                self.statements(&node.else_body, captured || node.recursive);
            }
            Stmt::IfCond(node) => {
                self.expression(&node.expr);
                self.statements(&node.true_body, captured);
                self.statements(&node.false_body, captured);
            }
            Stmt::WithBlock(node) => {
                for (_, value) in &node.assignments {
                    self.expression(value);
                }
                self.statements(&node.body, captured);
            }
            Stmt::Set(node) => self.expression(&node.expr),
            Stmt::SetBlock(node) => {
                self.optional(node.filter.as_ref());
                self.statements(&node.body, true);
            }
            Stmt::AutoEscape(node) => {
                self.expression(&node.enabled);
                self.statements(&node.body, captured);
            }
            Stmt::FilterBlock(node) => {
                self.expression(&node.filter);
                self.statements(&node.body, true);
            }
            Stmt::Block(node) => self.statements(&node.body, true),
            Stmt::Import(_) | Stmt::FromImport(_) | Stmt::Extends(_) | Stmt::Include(_) => {
                self.refuse("it asks for another template, and there is none to load");
            }
            Stmt::Macro(node) => self.macro_body(node),
            Stmt::CallBlock(node) => {
                self.call(&node.call);
                self.macro_body(&node.macro_decl);
            }
            Stmt::Do(node) => self.call(&node.call),
            Stmt::Continue(_) | Stmt::Break(_) => {}
        }
    }

    fn macro_body(&mut self, node: &ast::Macro<'_>) {
        node.defaults.iter().for_each(|value| self.expression(value));
        self.statements(&node.body, true);
    }

    fn call(&mut self, node: &ast::Call<'_>) {
        self.base(&node.expr);
        self.arguments(&node.args);
    }

    fn arguments(&mut self, args: &[ast::CallArg<'_>]) {
        for arg in args {
            match arg {
                ast::CallArg::Pos(expr)
                | ast::CallArg::Kwarg(_, expr)
                | ast::CallArg::PosSplat(expr)
                | ast::CallArg::KwargSplat(expr) => self.expression(expr),
            }
        }
    }

    fn optional(&mut self, expr: Option<&ast::Expr<'_>>) {
        if let Some(expr) = expr {
            self.expression(expr);
        }
    }

    fn expression(&mut self, expr: &ast::Expr<'_>) {
        use ast::Expr;
        match expr {
            Expr::Var(_) | Expr::Const(_) => {}
            Expr::Slice(node) => {
                self.edits.push((node.span().end_offset as usize, Edit::Charge));
                self.base(&node.expr);
                for bound in [&node.start, &node.stop, &node.step] {
                    self.optional(bound.as_ref());
                }
            }
            Expr::UnaryOp(node) => self.expression(&node.expr),
            Expr::BinOp(node) => self.binary(expr, node),
            Expr::Compare(node) => {
                self.expression(&node.expr);
                node.ops.iter().for_each(|op| self.expression(&op.expr));
            }
            Expr::IfExpr(node) => {
                self.expression(&node.test_expr);
                self.expression(&node.true_expr);
                self.optional(node.false_expr.as_ref());
            }
            Expr::Filter(node) => {
                self.optional(node.expr.as_ref());
                self.arguments(&node.args);
            }
            Expr::Test(node) => {
                self.expression(&node.expr);
                self.arguments(&node.args);
            }
            Expr::GetAttr(node) => self.base(&node.expr),
            Expr::GetItem(node) => {
                self.base(&node.expr);
                self.expression(&node.subscript_expr);
            }
            Expr::Call(node) => self.call(node),
            Expr::List(node) => node.items.iter().for_each(|item| self.expression(item)),
            Expr::Tuple(node) => node.items.iter().for_each(|item| self.expression(item)),
            Expr::Map(node) => {
                node.keys.iter().for_each(|key| self.expression(key));
                node.values.iter().for_each(|value| self.expression(value));
            }
        }
    }

    fn binary(&mut self, expr: &ast::Expr<'_>, node: &ast::BinOp<'_>) {
        match node.op {
            ast::BinOpKind::Add if self.marks_safe => self.call_add(node, expr.span()),
            ast::BinOpKind::Add | ast::BinOpKind::Concat => {
                // Only the leaves of a chain `a ~ b ~ c`: its result is no longer than they are together.
                for side in [&node.left, &node.right] {
                    if !is_chain(side) && !matches!(side, ast::Expr::Const(_)) {
                        self.charge_operand(side);
                    }
                }
            }
            ast::BinOpKind::Mul => {
                if constant_bytes(expr).is_some_and(|bytes| bytes > MAX_CONSTANT) {
                    self.refuse("it multiplies a constant text into megabytes");
                }
                self.charge_binary(expr);
            }
            _ => {}
        }
        self.expression(&node.left);
        self.expression(&node.right);
    }

    /// What `.name`, `[...]` or `(...)` is applied to. A slice there is gone again at once, and a filter behind it
    /// would not parse.
    fn base(&mut self, expr: &ast::Expr<'_>) {
        match expr {
            ast::Expr::Slice(node) => {
                self.base(&node.expr);
                for bound in [&node.start, &node.stop, &node.step] {
                    self.optional(bound.as_ref());
                }
            }
            _ => self.expression(expr),
        }
    }

    /// `a op b` to `(a op b)|charge`. Of the parser's spans only those of binary operators begin where the
    /// expression begins; all of them end where it ends.
    fn charge_binary(&mut self, expr: &ast::Expr<'_>) {
        let span = expr.span();
        self.edits.push((span.start_offset as usize, Edit::Open));
        self.edits.push((span.end_offset as usize, Edit::CloseAndCharge));
    }

    /// `a + b` to `add(a, b)`, which charges its operands itself.
    fn call_add(&mut self, node: &ast::BinOp<'_>, span: machinery::Span) {
        let left_end = node.left.span().end_offset as usize;
        let Some(plus) = self.source[left_end..].find('+') else { return };
        self.edits.push((span.start_offset as usize, Edit::OpenAdd));
        self.edits.push((left_end + plus, Edit::Comma));
        self.edits.push((span.end_offset as usize, Edit::Close));
    }

    fn charge_operand(&mut self, expr: &ast::Expr<'_>) {
        use ast::{BinOpKind, Expr};
        let end = expr.span().end_offset as usize;
        // Operators that bind less than `+` stand in parentheses here, and the filter belongs behind these.
        let behind_parenthesis = match expr {
            Expr::BinOp(node) => match node.op {
                BinOpKind::Sub | BinOpKind::Div | BinOpKind::FloorDiv | BinOpKind::Rem | BinOpKind::Pow => {
                    return self.charge_binary(expr);
                }
                BinOpKind::Mul => return, // charged as a product
                _ => true,
            },
            Expr::IfExpr(_) | Expr::Compare(_) => true,
            Expr::UnaryOp(node) => matches!(node.op, ast::UnaryOpKind::Not),
            Expr::Tuple(_) => !self.source[..end].ends_with(')'),
            Expr::Slice(_) => return, // charged as a slice
            _ => false,
        };
        let rest = self.source[end..].trim_start();
        let at = match rest.strip_prefix(')') {
            Some(rest) if behind_parenthesis => self.source.len() - rest.len(),
            _ => end,
        };
        self.edits.push((at, Edit::Charge));
    }

    fn refuse(&mut self, reason: &str) {
        self.refused.get_or_insert_with(|| reason.to_owned());
    }
}

/// Whether a template may make text that is marked as safe.
fn marks_safe(source: &str) -> bool {
    let filters = source.split('|').skip(1).map(str::trim_start);
    let names = filters.map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next());
    names.flatten().any(|name| matches!(name, "safe" | "escape" | "e"))
}

fn is_chain(expr: &ast::Expr<'_>) -> bool {
    matches!(expr, ast::Expr::BinOp(node) if matches!(node.op, ast::BinOpKind::Add | ast::BinOpKind::Concat))
}

/// Length of a constant text expression, which the engine would compute while compiling.
fn constant_bytes(expr: &ast::Expr<'_>) -> Option<u64> {
    match expr {
        ast::Expr::Const(node) => Some(node.value.as_str().map_or(ITEM_BYTES as u64, |text| text.len() as u64)),
        ast::Expr::List(node) => {
            Some(node.items.iter().filter_map(constant_bytes).fold(ITEM_BYTES as u64, u64::saturating_add))
        }
        ast::Expr::BinOp(node) => {
            let (left, right) = (constant_bytes(&node.left)?, constant_bytes(&node.right)?);
            match node.op {
                ast::BinOpKind::Mul => {
                    let number = |expr: &ast::Expr<'_>| match expr {
                        ast::Expr::Const(node) => node.value.as_i64().map(i64::unsigned_abs),
                        _ => None,
                    };
                    match (number(&node.left), number(&node.right)) {
                        (Some(_), Some(_)) => Some(ITEM_BYTES as u64),
                        (Some(times), None) => Some(right.saturating_mul(times)),
                        (None, Some(times)) => Some(left.saturating_mul(times)),
                        // A product of products: assume the worst that the engine allows.
                        (None, None) => Some(left.saturating_mul(right)),
                    }
                }
                _ => Some(left.saturating_add(right)),
            }
        }
        _ => None,
    }
}
