# A VPC at the hub: one subnet, one machine, the way to the hub, and endpoints for S3 and the systems manager.

variable "name" {}
variable "cidr" {}
variable "hub" {}

resource "aws_vpc" "this" {
  cidr_block           = var.cidr
  enable_dns_hostnames = true
}

resource "aws_subnet" "this" {
  vpc_id            = aws_vpc.this.id
  cidr_block        = cidrsubnet(var.cidr, 8, 1)
  availability_zone = "us-east-1a"
}

resource "aws_route_table" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_route_table_association" "this" {
  subnet_id      = aws_subnet.this.id
  route_table_id = aws_route_table.this.id
}

resource "aws_ec2_transit_gateway_vpc_attachment" "this" {
  vpc_id                                          = aws_vpc.this.id
  subnet_ids                                      = [aws_subnet.this.id]
  transit_gateway_id                              = var.hub
  transit_gateway_default_route_table_association = false
  transit_gateway_default_route_table_propagation = false
}

resource "aws_route" "hub" {
  route_table_id         = aws_route_table.this.id
  destination_cidr_block = "10.0.0.0/8"
  transit_gateway_id     = var.hub
  depends_on             = [aws_ec2_transit_gateway_vpc_attachment.this]
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id       = aws_vpc.this.id
  service_name = "com.amazonaws.us-east-1.s3"
}

resource "aws_vpc_endpoint_route_table_association" "s3" {
  vpc_endpoint_id = aws_vpc_endpoint.s3.id
  route_table_id  = aws_route_table.this.id
}

resource "aws_vpc_endpoint" "ssm" {
  vpc_id              = aws_vpc.this.id
  service_name        = "com.amazonaws.us-east-1.ssm"
  vpc_endpoint_type   = "Interface"
  subnet_ids          = [aws_subnet.this.id]
  security_group_ids  = [aws_security_group.endpoints.id]
  private_dns_enabled = true
}

resource "aws_security_group" "endpoints" {
  name   = "endpoints"
  vpc_id = aws_vpc.this.id
}

resource "aws_security_group_rule" "endpoints_in" {
  type              = "ingress"
  security_group_id = aws_security_group.endpoints.id
  protocol          = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_blocks       = [var.cidr]
}

resource "aws_security_group" "machine" {
  name   = "machine"
  vpc_id = aws_vpc.this.id
}

resource "aws_security_group_rule" "machine_in" {
  for_each          = { ping = { protocol = "icmp", from = 8, to = 0 }, http = { protocol = "tcp", from = 80, to = 80 } }
  type              = "ingress"
  security_group_id = aws_security_group.machine.id
  protocol          = each.value.protocol
  from_port         = each.value.from
  to_port           = each.value.to
  cidr_blocks       = ["10.0.0.0/8"]
}

resource "aws_security_group_rule" "machine_out" {
  type              = "egress"
  security_group_id = aws_security_group.machine.id
  protocol          = "-1"
  from_port         = 0
  to_port           = 0
  cidr_blocks       = ["0.0.0.0/0"]
}

resource "aws_instance" "this" {
  ami                    = "ami-0123456789abcdef0"
  instance_type          = "t3.small"
  subnet_id              = aws_subnet.this.id
  private_ip             = cidrhost(cidrsubnet(var.cidr, 8, 1), 10)
  vpc_security_group_ids = [aws_security_group.machine.id]
}

output "vpc_id" { value = aws_vpc.this.id }
output "route_table_id" { value = aws_route_table.this.id }
output "attachment_id" { value = aws_ec2_transit_gateway_vpc_attachment.this.id }
